//! Reads files that decide who a caller is or what it may do, and refuses those that every user can write.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Permission of users that are neither the owner nor in the group to write.
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// A file that cannot be read or trusted. The text continues the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustedFileError {
    /// The system refuses to open or read it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A directory, pipe or device.
    #[error("is not a regular file")]
    NotRegular,
    /// Every user can write it.
    #[error("is writable by every user, who could gain any access; run chmod o-w")]
    WorldWritable,
    /// Every user can create files beside it.
    #[error("is in a directory that every user can write; run chmod o-w on the directory")]
    InWorldWritableDirectory,
}

impl From<io::Error> for TrustedFileError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Returns whether every user can write a regular file.
#[must_use]
pub fn is_world_writable(found: &Metadata) -> bool {
    found.is_file() && found.permissions().mode() & WRITABLE_BY_OTHERS != 0
}

/// Returns whether every user can create files in a directory or connect to a socket.
#[must_use]
pub fn is_writable_by_all(path: &Path) -> bool {
    // A path without a folder is in the current one.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & WRITABLE_BY_OTHERS != 0)
}

/// Reads a trusted file.
///
/// # Errors
/// The file cannot be read, is not a regular file, or every user can write it.
pub fn read(path: &Path) -> Result<Vec<u8>, TrustedFileError> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(TrustedFileError::NotRegular);
    }
    if is_world_writable(&found) {
        return Err(TrustedFileError::WorldWritable);
    }
    Ok(std::fs::read(path)?)
}
