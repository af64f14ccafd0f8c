//! Runs a command to its end, and passes signals on.

use std::fs::File;
use std::io::ErrorKind;
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{self, SignalKind, signal};

use crate::exit_code::of_command;
use crate::terminal::print_error;

/// Exit codes of shells for a command that cannot be run, and for one that does not exist.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// The signals that ask a process to end.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    quit: unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn received(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
        }
    }
}

/// Runs the command and returns its exit code.
pub(super) async fn run(mut command: Command) -> anyhow::Result<ExitCode> {
    // First: a signal must not end this process before it has removed the command's directory.
    let mut signals = Signals::listen()?;
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = command.as_std().get_program().display();
            print_error(format_args!("cannot run {program}: {error}"));
            return Ok(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }.into());
        }
    };
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    // A terminal sends its signals to the whole foreground group, which the command belongs to.
    let has_terminal = File::open("/dev/tty").is_ok();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.context("cannot wait for the command")?,
            received = signals.received() => {
                if let Some(pid) = pid.filter(|_| !has_terminal || received == Signal::TERM) {
                    // It may have ended just now.
                    let _ = kill_process(pid, received);
                }
            }
        }
    };
    Ok(of_command(status))
}
