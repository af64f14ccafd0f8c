//! The way to a file: from directory to directory by descriptors, link by link. Each step is judged before it is taken.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Component, Path};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::directory::Directory;
use super::entry::{check, is_readable_kind};
use super::error::TrustedFileError;
use super::owners::Owners;

/// Links that are followed, as many as the kernel follows.
const MAX_LINKS: usize = 40;

/// Opens the file after every directory and link on the way, and its place in the last directory, were found trustworthy.
pub(super) fn open(path: &Path, owners: &Owners) -> Result<File, TrustedFileError> {
    let mut route = Route { at: Directory::root()?, left: VecDeque::new(), links: 0, owners };
    // Not canonical: the links in the path must be judged.
    route.prepend(&std::path::absolute(path)?);
    while let Some(part) = route.left.pop_front() {
        if let Some(file) = route.enter(&part)? {
            return Ok(file);
        }
    }
    Err(TrustedFileError::NotRegular)
}

#[derive(Debug)]
struct Route<'a> {
    /// The directory that was reached.
    at: Directory,
    /// The parts of the path after it.
    left: VecDeque<OsString>,
    links: usize,
    owners: &'a Owners,
}

impl Route<'_> {
    /// Puts a path before the parts that are left. An absolute one begins at the root again.
    fn prepend(&mut self, path: &Path) {
        for part in path.components().rev().filter(|part| *part != Component::CurDir) {
            self.left.push_front(part.as_os_str().to_owned());
        }
    }

    /// Takes one step; returns the file at the end of the way.
    fn enter(&mut self, part: &OsStr) -> Result<Option<File>, TrustedFileError> {
        if part == Component::RootDir.as_os_str() {
            self.at = Directory::root()?;
            return Ok(None);
        }
        if part == Component::ParentDir.as_os_str() {
            self.at = self.at.parent()?;
            return Ok(None);
        }
        let found = self.at.stat(part).map_err(|error| self.problem(error))?;
        check(&self.at, Some(&found), self.owners)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink => self.follow_link(part).map(|()| None),
            FileType::Directory => {
                self.at = self.at.enter(part)?;
                Ok(None)
            }
            _ => self.open_file(part, &found).map(Some),
        }
    }

    fn follow_link(&mut self, link: &OsStr) -> Result<(), TrustedFileError> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        self.prepend(&self.at.read_link(link)?);
        Ok(())
    }

    /// Opens the last entry. A pipe or a device is not even opened, because that can have effects.
    fn open_file(&self, name: &OsStr, found: &Stat) -> Result<File, TrustedFileError> {
        if !self.left.is_empty() {
            return Err(Errno::NOTDIR.into());
        }
        if !is_readable_kind(found) {
            return Err(TrustedFileError::NotRegular);
        }
        Ok(self.at.open_file(name)?)
    }

    /// Returns the problem of an entry that cannot be examined. A directory that others can write is the problem even of a missing
    /// file: the broker must not create one there.
    fn problem(&self, error: Errno) -> TrustedFileError {
        match TrustedFileError::from(error) {
            TrustedFileError::Missing if self.left.is_empty() => {
                check(&self.at, None, self.owners).err().unwrap_or_else(|| self.missing())
            }
            TrustedFileError::Missing => self.missing(),
            other => other,
        }
    }

    fn missing(&self) -> TrustedFileError {
        if self.links == 0 { TrustedFileError::Missing } else { TrustedFileError::Dangling }
    }
}
