//! Directories by their paths. Windows programs open no file below an open directory; in a user's profile only the user, the
//! system and administrators can write.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Opens a link itself, not its target.
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;

/// Metadata of an entry, of a link itself, or of the directory.
#[derive(Debug, Clone)]
pub(in crate::json_file) struct Entry(Metadata);

impl Entry {
    pub(in crate::json_file) fn is_file(&self) -> bool {
        self.0.is_file()
    }

    pub(in crate::json_file) fn is_link(&self) -> bool {
        self.0.is_symlink()
    }

    /// Returns the time of creation, which tells a file from another one of the same name.
    pub(in crate::json_file) fn inode(&self) -> u64 {
        std::os::windows::fs::MetadataExt::creation_time(&self.0)
    }
}

/// A directory.
#[derive(Debug, Clone)]
pub(in crate::json_file) struct Folder(PathBuf);

impl Folder {
    /// Returns a directory; `None` if it is missing.
    pub(in crate::json_file) fn find(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Ok(found) if !found.is_dir() => Err(ErrorKind::NotADirectory.into()),
            found => found.map(|_| Some(Self(path.to_owned()))),
        }
    }

    /// Returns a directory, and creates missing parts of the path.
    pub(in crate::json_file) fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Returns the metadata of an entry, of a link itself; `None` if it is missing.
    pub(in crate::json_file) fn stat(&self, name: &OsStr) -> io::Result<Option<Entry>> {
        match fs::symlink_metadata(self.0.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => Ok(Some(Entry(found?))),
        }
    }

    /// Opens a file for reading.
    pub(in crate::json_file) fn open(&self, name: &OsStr) -> io::Result<File> {
        self.open_with(name, OpenOptions::new().read(true))
    }

    /// Creates a file, which must be missing.
    pub(in crate::json_file) fn create_file(&self, name: &OsStr) -> io::Result<File> {
        self.open_with(name, OpenOptions::new().write(true).create_new(true))
    }

    /// Opens a file to append to it or to lock it, and creates it if it is missing.
    pub(in crate::json_file) fn open_append(&self, name: &OsStr) -> io::Result<File> {
        // Windows locks only files that are open for reading or writing.
        self.open_with(name, OpenOptions::new().read(true).append(true).create(true))
    }

    fn open_with(&self, name: &OsStr, options: &mut OpenOptions) -> io::Result<File> {
        options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(self.0.join(name))
    }

    pub(in crate::json_file) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    pub(in crate::json_file) fn remove(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    /// Does nothing: Windows writes directories itself.
    pub(in crate::json_file) fn sync(&self) {
        _ = self;
    }
}
