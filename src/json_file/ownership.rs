//! Owners of a file and of the links to it, where the system has them.

#[cfg_attr(unix, path = "ownership/unix.rs")]
#[cfg_attr(windows, path = "ownership/windows.rs")]
mod system;

pub(super) use self::system::{check_entry, check_file, check_link, is_private, keep};
