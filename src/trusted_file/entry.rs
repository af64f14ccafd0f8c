//! Entries of directories: who could replace a file or a link.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

use super::error::TrustedFileError;
use crate::mount;

/// The permission to write of users that are neither the owner nor in the group.
pub(super) const WORLD_WRITABLE: u32 = 0o002;
/// The mode bit of a directory in which only its owner may rename or remove an entry.
const STICKY: u32 = 0o1000;

/// Rejects an entry that any user could replace; `None` is a missing entry, which any user could create.
///
/// A directory that every user can write is accepted on a mount that is read-only to the broker, as kubelet's `ConfigMap` (0777)
/// and Secret volumes (1777) are. It is also accepted with the sticky bit, if the entry belongs to root or the broker's user.
pub(super) fn check(directory: &Path, entry: Option<&Metadata>) -> Result<(), TrustedFileError> {
    let mode = fs::metadata(directory)?.mode();
    if mode & WORLD_WRITABLE == 0 || mount::is_read_only(directory)? {
        return Ok(());
    }
    let directory = directory.to_owned();
    match entry {
        Some(entry) if mode & STICKY != 0 && is_trusted(entry.uid()) => Ok(()),
        Some(entry) if mode & STICKY != 0 => Err(TrustedFileError::OfOtherUser { directory, owner: entry.uid() }),
        _ => Err(TrustedFileError::InWorldWritableDirectory { directory }),
    }
}

fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == geteuid().as_raw()
}
