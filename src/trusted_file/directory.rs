//! A directory on the way to a file, open by its descriptor: a rename of it cannot lead elsewhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Result;

use super::group_writers::GroupWriters;
use super::owners::Owners;
use crate::mount;

/// A directory, its path without links, and its descriptor.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    descriptor: OwnedFd,
}

impl Directory {
    pub(super) fn root() -> Result<Self> {
        let path = PathBuf::from("/");
        Ok(Self { descriptor: openat(CWD, &path, Self::flags(), Mode::empty())?, path })
    }

    /// Opens a directory of this one, which must not be a link.
    pub(super) fn enter(&self, name: &OsStr) -> Result<Self> {
        let descriptor = openat(&self.descriptor, name, Self::flags(), Mode::empty())?;
        Ok(Self { path: self.path.join(name), descriptor })
    }

    /// Opens the directory that has this one.
    pub(super) fn parent(&self) -> Result<Self> {
        let descriptor = openat(&self.descriptor, "..", Self::flags(), Mode::empty())?;
        let path = self.path.parent().unwrap_or(&self.path).to_owned();
        Ok(Self { path, descriptor })
    }

    /// Returns the metadata of an entry; of a link, not of its target.
    pub(super) fn stat(&self, name: &OsStr) -> Result<Stat> {
        statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn read_link(&self, name: &OsStr) -> Result<PathBuf> {
        let target = readlinkat(&self.descriptor, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// Opens a file for reading, without waiting: opening a pipe would wait for its other end.
    pub(super) fn open_file(&self, name: &OsStr) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat(&self.descriptor, name, flags, Mode::empty()).map(File::from)
    }

    /// Opens a log for appending; `create` may have the flags that create it, with mode 0600.
    pub(super) fn open_log(&self, name: &OsStr, create: OFlags) -> Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat(&self.descriptor, name, flags | create, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    /// Opens a file so that it can be judged, but neither read nor written.
    pub(super) fn open_to_judge(&self, name: &OsStr) -> Result<OwnedFd> {
        openat(&self.descriptor, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// Returns the metadata of the directory itself.
    pub(super) fn metadata(&self) -> Result<Stat> {
        fstat(&self.descriptor)
    }

    /// Returns whether only kubelet can write the directory, whatever its mode.
    pub(super) fn is_in_api_volume(&self) -> bool {
        mount::is_api_volume(&self.descriptor)
    }

    /// Returns the users that can write the directory because its group can, beyond those that are trusted.
    pub(super) fn group_writers(&self, found: &Stat, owners: &Owners) -> Option<GroupWriters> {
        GroupWriters::of(&self.descriptor, found, owners)
    }

    fn flags() -> OFlags {
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
    }
}
