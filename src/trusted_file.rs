//! Reads files that decide who a caller is or what it may do. World-writable files are refused.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The permission to write of users that are neither the owner nor in the group.
const WORLD_WRITABLE: u32 = 0o002;

/// The reason why a file is not used. The text continues the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustedFileError {
    /// The system does not open or read it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is a directory, a pipe or a device.
    #[error("is not a regular file")]
    NotRegular,
    /// Every user can write it.
    #[error("is world-writable, so any user could gain any access; run chmod o-w")]
    WorldWritable,
    /// Every user can create files beside it.
    #[error("is in a world-writable directory, so any user could gain any access; run chmod o-w on it")]
    InWorldWritableDirectory,
}

impl From<io::Error> for TrustedFileError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Returns whether every user can write a regular file.
#[must_use]
pub fn is_world_writable(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.permissions().mode() & WORLD_WRITABLE != 0
}

/// Returns whether every user can create files in a directory or connect to a socket.
#[must_use]
pub fn is_open_to_all(path: &Path) -> bool {
    // The parent of a bare file name is the current directory.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & WORLD_WRITABLE != 0)
}

/// Reads a file.
///
/// # Errors
/// The file cannot be read, is not a regular file, or is world-writable.
pub fn read(path: &Path) -> Result<Vec<u8>, TrustedFileError> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(TrustedFileError::NotRegular);
    }
    if is_world_writable(&metadata) {
        return Err(TrustedFileError::WorldWritable);
    }
    Ok(std::fs::read(path)?)
}
