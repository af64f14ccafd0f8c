//! The directory of a file, open: files in it are reached by their names in it, never by a path.
//!
//! Another user may own a part of the path, and could replace it by a link between two steps of a change.

#[cfg_attr(unix, path = "folder/unix.rs")]
#[cfg_attr(windows, path = "folder/windows.rs")]
mod system;

pub(super) use self::system::{Entry, Folder};
