//! `exec`, and the name by which a program is called.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Sets the first argument: tools call helpers by the name of a link.
pub(super) fn set_name(command: &mut Command, name: &OsStr) {
    command.arg0(name);
}

/// Replaces this process.
pub(super) fn replace(command: &mut Command) -> io::Error {
    command.exec()
}
