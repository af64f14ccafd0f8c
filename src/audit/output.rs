//! The configured output of the audit log.

use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use crate::trusted_file;

/// The configured output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard error, between the lines of the log.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, created with mode 0600. After a rotation it is created again.
    File(PathBuf),
}

impl Output {
    /// Returns the file at a path as an output.
    ///
    /// # Errors
    /// There is something else at the path, or another user could write or replace it, with the fix. Writing to a pipe would wait for
    /// a reader, and a device keeps no record.
    pub fn file(path: PathBuf) -> Result<Self, String> {
        match (fs::metadata(&path), trusted_file::check_log(&path)) {
            (Ok(found), _) if !found.is_file() => Err(not_regular(found.file_type())),
            (_, Err(error)) if error.is_distrust() => Err(format!("{} {}", path.display(), error.of_written_file())),
            // The file may be missing, or hidden from the user that checks the configuration.
            _ => Ok(Self::File(path)),
        }
    }
}

fn not_regular(kind: FileType) -> String {
    let kind = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    format!("expected a regular file, got {kind}; name a file, or use \"stderr\" or \"stdout\"")
}
