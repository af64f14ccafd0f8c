//! Process trees. Windows has no signals; its own program ends a tree.

use std::os::windows::process::CommandExt as _;
use std::process::{Command, Stdio};

/// Ctrl-C of the parent's console does not reach the program.
const CREATE_NEW_PROCESS_GROUP: u32 = 0x0200;
/// The program has no console, and so no window.
const DETACHED_PROCESS: u32 = 0x0008;
/// The same for a program that runs only for a moment.
const CREATE_NO_WINDOW: u32 = 0x0800_0000;

/// A running program. Its starter keeps its handle, so that its ID is not given to another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessTree {
    id: u32,
}

impl ProcessTree {
    pub(super) fn new(id: u32, _has_group: bool) -> Self {
        Self { id }
    }

    /// Kills the program and those that it started.
    pub(crate) fn kill(self) {
        let mut command = Command::new("taskkill");
        command.args(["/F", "/T", "/PID", &self.id.to_string()]).creation_flags(CREATE_NO_WINDOW);
        _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Returns false: a program can ask in the console of its caller in any case.
pub(super) fn has_terminal() -> bool {
    false
}

/// Does nothing: a tree needs no group.
pub(super) fn separate(_command: &mut Command) {}

/// Prepares a command that outlives this process.
pub(crate) fn detach(command: &mut Command) {
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

/// Does nothing: [`detach`] did it when the process was started.
pub(crate) fn leave_session() {}
