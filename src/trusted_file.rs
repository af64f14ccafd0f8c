//! Files that decide identity: who a caller is, who the broker is, and what either may do.
//!
//! [`open`] is the one way to such a file: configuration and grants, keys, CA certificates, secrets and tokens. It follows the path
//! link by link. `entry::check` judges every link on the way, and the file: by the directory that has it. The opened file is judged
//! last, by its own metadata. Directories on the way are not judged as entries of their parents.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

pub use self::error::TrustedFileError;

use self::entry::WORLD_WRITABLE;

mod entry;
mod error;
mod route;

#[cfg(test)]
mod tests;

/// An open file that was judged as [`open`] tells: regular, or a device.
#[derive(Debug)]
pub struct TrustedFile {
    /// The file, opened without waiting.
    pub file: File,
    /// Its metadata, read after it was opened.
    pub metadata: Metadata,
}

/// Opens a file that not every user can write. Neither the file nor a link on the way to it is in a directory in which every user could
/// replace it. What the owners and groups of files and directories may write is not judged.
///
/// # Errors
/// The file is missing, it cannot be read, or every user could write or replace it.
pub fn open(path: &Path) -> Result<TrustedFile, TrustedFileError> {
    let file = open_without_waiting(&route::follow(path)?)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_dir() || kind.is_fifo() || kind.is_socket() {
        return Err(TrustedFileError::NotRegular);
    }
    if metadata.is_file() && metadata.permissions().mode() & WORLD_WRITABLE != 0 {
        return Err(TrustedFileError::WorldWritable);
    }
    Ok(TrustedFile { file, metadata })
}

/// Reads a regular file.
///
/// # Errors
/// As [`open`], and if it is a device.
pub fn read(path: &Path) -> Result<Vec<u8>, TrustedFileError> {
    let TrustedFile { mut file, metadata } = open(path)?;
    if !metadata.is_file() {
        return Err(TrustedFileError::NotRegular);
    }
    // With room for all: a vector that grows leaves copies of a key behind.
    let mut contents = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default().saturating_add(1));
    file.read_to_end(&mut contents)?;
    Ok(contents)
}

/// Reads a text; devices are accepted, so that `/dev/null` is an empty text.
///
/// # Errors
/// As [`open`], and if it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, TrustedFileError> {
    let mut text = String::new();
    open(path)?.file.read_to_string(&mut text)?;
    Ok(text)
}

/// Returns whether every user can connect to a socket.
#[must_use]
pub fn is_open_to_all(socket: &Path) -> bool {
    std::fs::metadata(socket).is_ok_and(|metadata| metadata.permissions().mode() & WORLD_WRITABLE != 0)
}

/// Opens a file without waiting: opening a pipe would wait for its other end.
fn open_without_waiting(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}
