//! Directories by their descriptors.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// Mode of a directory that is created.
const PRIVATE: Mode = Mode::RWXU;
/// Opens a directory that this user may search and not list, where the system can.
#[cfg(target_os = "linux")]
const SEARCH: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const SEARCH: OFlags = OFlags::RDONLY;

/// Metadata of an entry, of a link itself, or of the directory.
#[derive(Debug, Clone, Copy)]
pub(in crate::json_file) struct Entry(Stat);

impl Entry {
    pub(in crate::json_file) fn is_file(&self) -> bool {
        FileType::from_raw_mode(self.0.st_mode) == FileType::RegularFile
    }

    pub(in crate::json_file) fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.0.st_mode) == FileType::Symlink
    }

    pub(in crate::json_file) fn inode(&self) -> u64 {
        self.0.st_ino
    }

    /// Returns the user ID of the owner.
    pub(in crate::json_file) fn owner(&self) -> u32 {
        self.0.st_uid
    }

    pub(in crate::json_file) fn is_world_writable(&self) -> bool {
        Mode::from_raw_mode(self.0.st_mode).contains(Mode::WOTH)
    }
}

/// An open directory. A clone is the same one.
#[derive(Debug, Clone)]
pub(in crate::json_file) struct Folder(Arc<OwnedFd>);

impl Folder {
    /// Opens a directory by an absolute path in which no part is a link; `None` if it is missing.
    pub(in crate::json_file) fn find(path: &Path) -> io::Result<Option<Self>> {
        match Self::walk(path, |_, _| Err(Errno::NOENT)) {
            Err(Errno::NOENT) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// Opens a directory as [`Folder::find`] does, and creates missing parts of the path.
    pub(in crate::json_file) fn create(path: &Path) -> io::Result<Self> {
        let make = |at: &OwnedFd, name: &OsStr| match mkdirat(at, name, PRIVATE) {
            Err(Errno::EXIST) | Ok(()) => Ok(()),
            error => error,
        };
        Ok(Self::walk(path, make)?)
    }

    fn walk(path: &Path, make: impl Fn(&OwnedFd, &OsStr) -> Result<(), Errno>) -> Result<Self, Errno> {
        let flags = SEARCH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = openat(CWD, "/", flags, Mode::empty())?;
        for part in path.components().filter(|part| *part != Component::RootDir) {
            let name = part.as_os_str();
            at = match openat(&at, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    make(&at, name)?;
                    openat(&at, name, flags, Mode::empty())?
                }
                found => found?,
            };
        }
        Ok(Self(Arc::new(at)))
    }

    /// Returns the metadata of the directory itself.
    pub(in crate::json_file) fn metadata(&self) -> io::Result<Entry> {
        Ok(Entry(fstat(&self.0)?))
    }

    /// Returns the metadata of an entry, of a link itself; `None` if it is missing.
    pub(in crate::json_file) fn stat(&self, name: &OsStr) -> io::Result<Option<Entry>> {
        match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            found => Ok(Some(Entry(found?))),
        }
    }

    /// Opens a file for reading.
    pub(in crate::json_file) fn open(&self, name: &OsStr) -> io::Result<File> {
        self.open_with(name, OFlags::RDONLY)
    }

    /// Creates a file, which must be missing, with mode 0600.
    pub(in crate::json_file) fn create_file(&self, name: &OsStr) -> io::Result<File> {
        self.open_with(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a file to append to it or to lock it, and creates it with mode 0600 if it is missing.
    pub(in crate::json_file) fn open_append(&self, name: &OsStr) -> io::Result<File> {
        self.open_with(name, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
    }

    /// Opens a file, never through a link, and without waiting for the other end of a pipe.
    fn open_with(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    pub(in crate::json_file) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    pub(in crate::json_file) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Writes the entries to the disk. Some file systems cannot; the files are complete without it.
    pub(in crate::json_file) fn sync(&self) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        _ = openat(&self.0, ".", flags, Mode::empty()).map(|directory| File::from(directory).sync_all());
    }
}
