//! Programs that this one runs, with the programs that they start.

use std::process::Command;

#[cfg_attr(unix, path = "process_tree/unix.rs")]
#[cfg_attr(windows, path = "process_tree/windows.rs")]
mod system;

pub(crate) use self::system::{ProcessTree, detach, leave_session};

/// A program that is started so that it can be killed with the programs that it starts.
///
/// With a terminal it stays in this program's group: only the foreground group can ask for a passphrase, and Ctrl-C reaches it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Separation {
    has_group: bool,
}

impl Separation {
    /// Prepares a command, unless this process has a terminal.
    pub(crate) fn of(command: &mut Command) -> Self {
        let has_group = !system::has_terminal();
        if has_group {
            system::separate(command);
        }
        Self { has_group }
    }

    /// Returns the started program: its process ID is `id`.
    pub(crate) fn tree(self, id: u32) -> ProcessTree {
        ProcessTree::new(id, self.has_group)
    }

    /// Returns the started program if it can be killed with those that it starts; none if only its handle kills it.
    pub(crate) fn group(self, id: u32) -> Option<ProcessTree> {
        self.has_group.then(|| self.tree(id))
    }
}
