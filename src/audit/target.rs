//! Where the lines of the audit log go: a file, which may be rotated, or a standard stream.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fstatvfs};

use super::output::{Output, not_regular};

/// An open output.
pub(super) trait Target: Debug + Send {
    /// Opens a new file after a rotation. Returns whether that file ends in the middle of a line; `None` if nothing has changed.
    fn follow(&mut self) -> io::Result<Option<bool>> {
        Ok(None)
    }

    /// Returns what lines are written to. A standard stream is locked, so that no line of the log comes between.
    fn writer(&mut self) -> Box<dyn io::Write + '_>;

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
            let (target, is_torn) = LogFile::open(path)?;
            (Box::new(target), is_torn)
        }
    })
}

impl Target for io::Stderr {
    fn writer(&mut self) -> Box<dyn io::Write + '_> {
        Box::new(self.lock())
    }
}

impl Target for io::Stdout {
    fn writer(&mut self) -> Box<dyn io::Write + '_> {
        Box::new(self.lock())
    }
}

/// A file, opened for appending.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    inode: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<(Self, bool)> {
        let file = open_file(path)?;
        let inode = file.metadata()?.ino();
        Ok((Self { path: path.to_owned(), file, inode }, is_torn(path)))
    }
}

impl Target for LogFile {
    fn follow(&mut self) -> io::Result<Option<bool>> {
        if fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            return Ok(None);
        }
        let (opened, is_torn) = Self::open(&self.path)?;
        *self = opened;
        Ok(Some(is_torn))
    }

    fn writer(&mut self) -> Box<dyn io::Write + '_> {
        Box::new(&mut self.file)
    }

    fn free(&self) -> Option<u64> {
        let found = fstatvfs(&self.file).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Opens the file for appending. It does not wait: opening a pipe without a reader would.
fn open_file(path: &Path) -> io::Result<File> {
    Output::file(path.to_owned()).map_err(io::Error::other)?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(io::Error::other(not_regular(kind))) }
}

/// Returns whether a file ends in the middle of a line, as a full disk or a kill leaves it. One that cannot be read counts as whole.
fn is_torn(path: &Path) -> bool {
    let mut last = [b'\n'];
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)
    });
    read.is_ok() && last != *b"\n"
}
