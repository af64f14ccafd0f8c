//! Hides memory and environment of the process from other processes, even of the same user.
//!
//! `exec` undoes it, and the environment may hold keys. So every program hides itself first in `main`, before it reads its arguments
//! and before it replaces itself; the new process hides itself again.

use rustix::io;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Hides memory and environment. Core files are disabled with it.
///
/// # Errors
/// The kernel refuses, as a seccomp filter can make it do.
pub fn hide() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
