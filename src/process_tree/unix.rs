//! Process groups.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, setsid};

/// A running program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessTree {
    id: Option<Pid>,
    is_group: bool,
}

impl ProcessTree {
    pub(super) fn new(id: u32, is_group: bool) -> Self {
        Self { id: i32::try_from(id).ok().and_then(Pid::from_raw), is_group }
    }

    /// Kills the program, and all of its group if it has a group.
    pub(crate) fn kill(self) {
        let Some(id) = self.id else { return };
        _ = if self.is_group { kill_process_group(id, Signal::KILL) } else { kill_process(id, Signal::KILL) };
    }
}

/// Returns whether this process has a controlling terminal; opening it fails if there is none.
pub(super) fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

pub(super) fn separate(command: &mut Command) {
    command.process_group(0);
}

/// Prepares a command that outlives this process. It calls [`leave_session`] itself.
pub(crate) fn detach(_command: &mut Command) {}

/// Leaves the session: a signal to the terminal or group of the parent is not meant for this process.
pub(crate) fn leave_session() {
    _ = setsid();
}
