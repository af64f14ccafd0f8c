//! Where the lines of the audit log go: a file, which may be rotated, or a standard stream.

use std::fmt::Debug;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::fstatvfs;
use tracing::error;

use super::output::Output;
use crate::trusted_file::{self, TrustedFileError};

/// Writes lines to an output.
pub(super) type Write<'a> = &'a mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>;

/// An open output.
pub(super) trait Target: Debug + Send {
    /// Opens a new file after a rotation. Returns whether that file ends in the middle of a line; `None` if nothing has changed.
    fn follow(&mut self) -> io::Result<Option<bool>> {
        Ok(None)
    }

    /// Lets `write` write lines. A standard stream is locked, so that no line of the log comes between.
    fn with_writer(&mut self, write: Write<'_>) -> io::Result<()>;

    /// Returns whether it is a regular file. Anything else may block a write for as long as a reader likes.
    fn is_regular_file(&self) -> bool {
        false
    }

    /// Returns the free bytes of its filesystem; `None` for a stream, or if they cannot be read.
    fn free(&self) -> Option<u64> {
        None
    }
}

/// Opens an output. Returns with it whether it ends in the middle of a line.
pub(super) fn open(output: &Output) -> io::Result<(Box<dyn Target>, bool)> {
    Ok(match output {
        Output::Stderr => (Box::new(io::stderr()), false),
        Output::Stdout => (Box::new(io::stdout()), false),
        Output::File(path) => {
            let (target, is_torn) = LogFile::open(path).map_err(|error| write_error(path, &error))?;
            (Box::new(target), is_torn)
        }
    })
}

impl Target for io::Stderr {
    fn with_writer(&mut self, write: Write<'_>) -> io::Result<()> {
        write(&mut self.lock())
    }
}

impl Target for io::Stdout {
    fn with_writer(&mut self, write: Write<'_>) -> io::Result<()> {
        write(&mut self.lock())
    }
}

/// A file, opened for appending.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode of the open file.
    id: (u64, u64),
    /// Why the file that is now at the path is not used.
    refused: Option<TrustedFileError>,
}

impl LogFile {
    fn open(path: &Path) -> Result<(Self, bool), TrustedFileError> {
        let file = trusted_file::open_log(path)?;
        let (id, is_torn) = (id_of(&file.metadata()?), is_torn(&file));
        Ok((Self { path: path.to_owned(), file, id, refused: None }, is_torn))
    }

    /// Keeps the open file: another user could have moved it, and have put something else there.
    fn keep(&mut self, error: TrustedFileError) {
        if self.refused.as_ref() != Some(&error) {
            let file = self.path.display();
            error!(%file, error = error.of_written_file(), "audit log not reopened; records go to the file that is open");
            self.refused = Some(error);
        }
    }
}

impl Target for LogFile {
    fn follow(&mut self) -> io::Result<Option<bool>> {
        if fs::metadata(&self.path).is_ok_and(|found| id_of(&found) == self.id) {
            self.refused = None;
            return Ok(None);
        }
        match Self::open(&self.path) {
            Ok((opened, is_torn)) => {
                *self = opened;
                Ok(Some(is_torn))
            }
            Err(error) if error.is_distrust() && error != TrustedFileError::NotRegular => {
                self.keep(error);
                Ok(None)
            }
            Err(error) => Err(write_error(&self.path, &error)),
        }
    }

    fn with_writer(&mut self, write: Write<'_>) -> io::Result<()> {
        write(&mut self.file)
    }

    fn is_regular_file(&self) -> bool {
        true
    }

    fn free(&self) -> Option<u64> {
        let found = fstatvfs(&self.file).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

fn id_of(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Returns the error of a file that cannot be written.
fn write_error(path: &Path, error: &TrustedFileError) -> io::Error {
    match error {
        TrustedFileError::Missing | TrustedFileError::Dangling => io::Error::other("no such directory; create it"),
        TrustedFileError::Forbidden => io::ErrorKind::PermissionDenied.into(),
        TrustedFileError::Unreadable(reason) => io::Error::other(reason.clone()),
        distrust => {
            let problem = Output::file(path.to_owned()).err();
            io::Error::other(problem.unwrap_or_else(|| distrust.of_written_file()))
        }
    }
}

/// Returns whether a file ends in the middle of a line, as a full disk or a kill leaves it. One that cannot be read counts as whole.
fn is_torn(file: &File) -> bool {
    let mut last = [b'\n'];
    // The same file, whatever is at its path now.
    let read = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).and_then(|mut file| {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)
    });
    read.is_ok() && last != *b"\n"
}
