//! A view that is redrawn in place on a terminal, on its alternate screen. The terminal is restored when the view is dropped, and
//! while the process is stopped (Ctrl-Z).

use std::io::{ErrorKind, Write as _, stdin, stdout};

use anyhow::Context as _;
use rustix::process::{Signal as Kind, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::layout::view;
use crate::pb::GetStatusResponse;
use crate::quoted::Visible;

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Size of a terminal that does not tell its size.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// The view, its last status, and why a newer one could not be had.
#[derive(Debug)]
pub(super) struct Screen {
    status: GetStatusResponse,
    problem: Option<String>,
    resized: Signal,
    suspended: Signal,
    /// The modes of the terminal before typed letters were hidden.
    modes: Option<Termios>,
}

/// What happened to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Resized,
    /// The user asked to stop the process for a while.
    Suspended,
}

impl Screen {
    pub(super) fn open() -> anyhow::Result<Self> {
        let listen = |kind: Kind| signal(SignalKind::from_raw(kind.as_raw())).context("cannot listen for signals");
        let (resized, suspended) = (listen(Kind::WINCH)?, listen(Kind::TSTP)?);
        let mut screen = Self { status: GetStatusResponse::default(), problem: None, resized, suspended, modes: None };
        screen.enter();
        Ok(screen)
    }

    /// Draws a status; returns false if the terminal is gone.
    pub(super) fn draw(&mut self, status: GetStatusResponse) -> anyhow::Result<bool> {
        (self.status, self.problem) = (status, None);
        self.redraw()
    }

    /// Draws the last status again, below a problem.
    pub(super) fn draw_problem(&mut self, problem: &str) -> anyhow::Result<bool> {
        self.problem = Some(format!("no new status: {}", Visible(problem)));
        self.redraw()
    }

    /// Waits for an event of the terminal.
    pub(super) async fn event(&mut self) -> Event {
        tokio::select! {
            _ = self.resized.recv() => Event::Resized,
            _ = self.suspended.recv() => Event::Suspended,
        }
    }

    /// Follows an event; returns false if the terminal is gone.
    pub(super) fn follow(&mut self, event: Event) -> anyhow::Result<bool> {
        if event == Event::Suspended {
            self.leave();
            // Returns once the process continues.
            kill_process(getpid(), Kind::STOP).context("cannot stop the process")?;
            self.enter();
        }
        self.redraw()
    }

    fn redraw(&self) -> anyhow::Result<bool> {
        let (columns, rows) = size();
        let problem = self.problem.as_deref().unwrap_or_default();
        let lines = view(&self.status, (columns, rows.saturating_sub(usize::from(self.problem.is_some()))));
        write(&frame(&lines, problem, (columns, rows)))
    }

    /// Shows the alternate screen and hides what is typed.
    fn enter(&mut self) {
        _ = write(ENTER);
        self.modes = tcgetattr(stdin()).ok();
        if let Some(mut modes) = self.modes.clone() {
            modes.local_modes.remove(LocalModes::ECHO);
            _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
        }
    }

    /// Restores the terminal. The shell must not read what was typed meanwhile.
    fn leave(&mut self) {
        if let Some(modes) = self.modes.take() {
            _ = tcflush(stdin(), QueueSelector::IFlush);
            _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
        }
        _ = write(LEAVE);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Returns what draws the lines below a note, cut to the size of the terminal.
fn frame(lines: &[String], note: &str, (columns, rows): (usize, usize)) -> String {
    let note = (!note.is_empty()).then_some(note);
    let shown = note.into_iter().chain(lines.iter().map(String::as_str)).take(rows);
    let cut = |line: &str| line.chars().take(columns).collect::<String>() + "\x1b[K";
    let drawn: Vec<_> = shown.map(cut).collect();
    format!("\x1b[H{}\x1b[J", drawn.join("\r\n"))
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL_SIZE,
    }
}

fn write(text: &str) -> anyhow::Result<bool> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to stdout"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_is_cut_to_the_terminal_and_clears_what_was_there() {
        let lines: Vec<_> = ["first line", "second", "third"].map(str::to_owned).into();
        assert_eq!(frame(&lines, "", (5, 2)), "\x1b[Hfirst\x1b[K\r\nsecon\x1b[K\x1b[J");
        assert_eq!(frame(&lines, "note", (80, 2)), "\x1b[Hnote\x1b[K\r\nfirst line\x1b[K\x1b[J");
        assert_eq!(frame(&[], "", (80, 24)), "\x1b[H\x1b[J");
    }
}
