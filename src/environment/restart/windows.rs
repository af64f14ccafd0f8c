//! A child in place of `exec`, which Windows does not have.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

/// Does nothing: the name of a Windows program is that of its file.
pub(super) fn set_name(_command: &mut Command, _name: &OsStr) {}

/// Runs the program on the same streams, and ends with its exit code.
#[expect(clippy::exit, reason = "in place of exec, before anything else has started")]
pub(super) fn replace(command: &mut Command) -> io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}
