//! Outputs of the audit log: a file, which may be rotated, or a standard stream.

use std::fs::{self, File, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

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
    /// There is something else at the path, with the fix. Writing to a pipe would wait for a reader, and a device keeps no record.
    pub fn file(path: PathBuf) -> Result<Self, String> {
        match fs::metadata(&path) {
            Ok(found) if !found.is_file() => Err(not_regular(found.file_type())),
            // The file may be missing, or hidden from the user that checks the configuration.
            _ => Ok(Self::File(path)),
        }
    }
}

/// An open output.
#[derive(Debug)]
pub(super) enum Sink {
    Stderr,
    Stdout,
    File { path: PathBuf, file: File, inode: u64 },
}

impl Sink {
    pub(super) fn open(output: &Output) -> io::Result<Self> {
        match output {
            Output::Stderr => Ok(Self::Stderr),
            Output::Stdout => Ok(Self::Stdout),
            Output::File(path) => {
                let file = open_file(path)?;
                Ok(Self::File { path: path.clone(), inode: file.metadata()?.ino(), file })
            }
        }
    }

    /// Writes whole lines, in one call if the system allows it. `written` counts the bytes, also if the write fails.
    pub(super) fn write(&mut self, lines: &[u8], written: &mut usize) -> io::Result<()> {
        match self {
            Self::Stderr => write_counted(&mut io::stderr().lock(), lines, written),
            Self::Stdout => write_counted(&mut io::stdout().lock(), lines, written),
            Self::File { path, file, inode } => {
                if fs::metadata(&*path).map_or(true, |found| found.ino() != *inode) {
                    *file = open_file(path)?;
                    *inode = file.metadata()?.ino();
                }
                write_counted(file, lines, written)
            }
        }
    }
}

fn write_counted(sink: &mut impl io::Write, lines: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < lines.len() {
        match sink.write(&lines[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => *written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    sink.flush()
}

/// Opens the file for appending. It does not wait: opening a pipe without a reader would.
fn open_file(path: &Path) -> io::Result<File> {
    Output::file(path.to_owned()).map_err(io::Error::other)?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(io::Error::other(not_regular(kind))) }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink with room for a number of bytes.
    struct Full(usize);

    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.0);
            self.0 -= fits;
            if fits == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(fits) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn written_bytes_are_counted_also_if_the_write_fails() {
        for (room, expected) in [(0, 0), (3, 3), (8, 8), (100, 8)] {
            let mut written = 0;
            let result = write_counted(&mut Full(room), b"one\ntwo\n", &mut written);
            assert_eq!((written, result.is_ok()), (expected, room >= 8), "{room}");
        }
    }
}
