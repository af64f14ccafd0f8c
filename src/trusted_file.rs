//! Files that decide identity: who a caller is, who the broker is, and what either may do.
//!
//! [`open`] is the one way to such a file: configuration and grants, keys, CA certificates, secrets and tokens. It goes from directory
//! to directory by descriptors, and link by link. `entry::check` judges each step by the directory that has the entry. The file is
//! opened once, and judged by its own metadata. So no rename between the judgement and the reading can swap it.
//!
//! [`open_log`] goes the same way to a log that the broker writes, [`check_socket`] to a socket on which it listens.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::fstat;

pub use self::error::TrustedFileError;
pub use self::log::{check_log, open_log};
pub use self::owners::{accept_any_owner, accepted_owners, judge_for};

use self::entry::{WORLD_READABLE, WORLD_WRITABLE, check_file, check_new, is_readable_kind};
use self::owners::Owners;
use self::route::Place;

mod directory;
mod entry;
mod error;
mod group_writers;
mod log;
mod owners;
mod route;

#[cfg(test)]
mod tests;

/// Longest file: 1 MiB. A longer one is a mistake, or an attempt to fill the memory.
pub const MAX_BYTES: u64 = 1 << 20;

/// An open file that was judged as [`open`] tells: regular, or `/dev/null`.
#[derive(Debug)]
pub struct TrustedFile {
    /// The file, opened without waiting.
    pub file: File,
    /// Its metadata, read after it was opened.
    pub metadata: Metadata,
}

/// Opens a file that only root and the broker's user can write, and only they can replace: by each directory and link on the way. A
/// group may write only if it is root's, or the broker's user is alone in it.
///
/// # Errors
/// The file is missing, it cannot be read, or another user could write or replace it.
pub fn open(path: &Path) -> Result<TrustedFile, TrustedFileError> {
    open_for(path, &Owners::of_broker())
}

/// Opens a file that holds a secret, which not every user can read.
///
/// # Errors
/// As [`open`], and if every user can read it, or if it is a device.
pub fn open_secret(path: &Path) -> Result<TrustedFile, TrustedFileError> {
    let opened = regular(open(path)?)?;
    if opened.metadata.mode() & WORLD_READABLE != 0 {
        return Err(TrustedFileError::WorldReadable);
    }
    Ok(opened)
}

/// Reads a regular file of at most [`MAX_BYTES`].
///
/// # Errors
/// As [`open`], and if it is a device or too long.
pub fn read(path: &Path) -> Result<Vec<u8>, TrustedFileError> {
    read_up_to(path, MAX_BYTES)
}

/// Reads a regular file as [`read`] does, but one of at most `limit` bytes.
///
/// # Errors
/// As [`read`].
pub fn read_up_to(path: &Path, limit: u64) -> Result<Vec<u8>, TrustedFileError> {
    read_all(regular(open(path)?)?, limit)
}

/// Reads a file as [`read`] does, but one that holds a secret.
///
/// # Errors
/// As [`read`] and [`open_secret`].
pub fn read_secret(path: &Path) -> Result<Vec<u8>, TrustedFileError> {
    read_all(open_secret(path)?, MAX_BYTES)
}

/// Reads a text of at most [`MAX_BYTES`]; `/dev/null` is an empty one.
///
/// # Errors
/// As [`open`], and if it is too long or not UTF-8.
pub fn read_text(path: &Path) -> Result<String, TrustedFileError> {
    read_text_up_to(path, MAX_BYTES)
}

/// Reads a text as [`read_text`] does, but one of at most `limit` bytes.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_up_to(path: &Path, limit: u64) -> Result<String, TrustedFileError> {
    String::from_utf8(read_all(open(path)?, limit)?).map_err(|_| TrustedFileError::NotUtf8)
}

/// Judges the place of a Unix socket, which may not exist yet: only root and the broker's user can put another there, as with [`open`].
///
/// # Errors
/// Its directory is missing, or another user could replace the socket.
pub fn check_socket(path: &Path) -> Result<(), TrustedFileError> {
    let owners = Owners::of_broker();
    let place = Place::find(path, &owners)?;
    if place.found.is_none() { check_new(&place.directory, &owners) } else { Ok(()) }
}

/// Judges a directory whose entries another program reads: only root and the broker's user can add or replace one, as with [`open`].
///
/// # Errors
/// It is missing, or another user could add or replace an entry.
pub fn check_directory(path: &Path) -> Result<(), TrustedFileError> {
    let owners = Owners::of_broker();
    check_new(&Place::find(&path.join("entry"), &owners)?.directory, &owners)
}

/// Returns whether every user can connect to a socket.
#[must_use]
pub fn is_open_to_all(socket: &Path) -> bool {
    std::fs::metadata(socket).is_ok_and(|metadata| metadata.permissions().mode() & WORLD_WRITABLE != 0)
}

fn open_for(path: &Path, owners: &Owners) -> Result<TrustedFile, TrustedFileError> {
    let file = Place::find(path, owners)?.open(owners)?;
    let found = fstat(&file)?;
    if !is_readable_kind(&found) {
        return Err(TrustedFileError::NotRegular);
    }
    check_file(path, &file, owners)?;
    let metadata = file.metadata()?;
    Ok(TrustedFile { file, metadata })
}

fn regular(opened: TrustedFile) -> Result<TrustedFile, TrustedFileError> {
    if opened.metadata.is_file() { Ok(opened) } else { Err(TrustedFileError::NotRegular) }
}

/// Reads a file, which may grow meanwhile.
fn read_all(TrustedFile { file, metadata }: TrustedFile, limit: u64) -> Result<Vec<u8>, TrustedFileError> {
    if metadata.len() > limit {
        return Err(TrustedFileError::TooLong { limit });
    }
    // With room for all: a vector that grows leaves copies of a key behind.
    let mut contents = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default().saturating_add(1));
    file.take(limit + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > limit { Err(TrustedFileError::TooLong { limit }) } else { Ok(contents) }
}
