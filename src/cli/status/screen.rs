//! A view that is redrawn in place on a terminal, on its alternate screen. The terminal is restored when the view is dropped.

use std::io::{ErrorKind, Write as _, stdout};

use anyhow::Context as _;

use crate::quoted::Visible;

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Size of a terminal that does not tell its size.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// The view and its last lines.
#[derive(Debug)]
pub(super) struct Screen {
    lines: Vec<String>,
}

impl Screen {
    pub(super) fn open() -> Self {
        _ = write(ENTER);
        Self { lines: Vec::new() }
    }

    /// Draws lines; returns false if the terminal is gone.
    pub(super) fn draw(&mut self, lines: Vec<String>) -> anyhow::Result<bool> {
        self.lines = lines;
        write(&frame(&self.lines, "", size()))
    }

    /// Draws the last lines again, below a problem.
    pub(super) fn draw_problem(&self, problem: &str) -> anyhow::Result<bool> {
        write(&frame(&self.lines, &format!("no new status: {}", Visible(problem)), size()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        _ = write(LEAVE);
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
