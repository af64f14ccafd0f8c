//! The way to a file: from directory to directory by descriptors, link by link. Each step is judged before it is taken.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Component, Path};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::directory::Directory;
use super::entry::{check, check_new, is_readable_kind};
use super::error::TrustedFileError;
use super::owners::Owners;

/// Links that are followed, as many as the kernel follows.
const MAX_LINKS: usize = 40;

/// The end of a way on which every directory and link was found trustworthy.
#[derive(Debug)]
pub(super) struct Place {
    /// The last directory.
    pub(super) directory: Directory,
    /// The name in it.
    pub(super) name: OsString,
    /// What has this name, found trustworthy, too; `None` if it is missing. The directory is then not judged yet.
    pub(super) found: Option<Stat>,
    /// Whether a link led here.
    is_linked: bool,
}

impl Place {
    /// Goes to the place of a file.
    pub(super) fn find(path: &Path, owners: &Owners) -> Result<Self, TrustedFileError> {
        let mut route = Route { at: Directory::root()?, left: VecDeque::new(), links: 0, owners };
        // Not canonical: the links in the path must be judged.
        route.prepend(&std::path::absolute(path)?);
        while let Some(name) = route.left.pop_front() {
            if let Step::End(found) = route.enter(&name)? {
                return Ok(Self { directory: route.at, name, found, is_linked: route.links > 0 });
            }
        }
        Err(TrustedFileError::NotRegular)
    }

    /// Opens the file for reading. A pipe or a device is not even opened, because that can have effects.
    pub(super) fn open(&self, owners: &Owners) -> Result<File, TrustedFileError> {
        let Some(found) = &self.found else {
            // A directory that others can write is the problem even of a missing file: the broker must not create one there.
            check(&self.directory, None, owners)?;
            return Err(missing(self.is_linked));
        };
        if !is_readable_kind(found) {
            return Err(TrustedFileError::NotRegular);
        }
        Ok(self.directory.open_file(&self.name)?)
    }
}

/// A step on the way.
enum Step {
    /// To a directory, or by a link.
    Onward,
    /// To the end of the way, and what is there.
    End(Option<Stat>),
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

    /// Takes one step.
    fn enter(&mut self, part: &OsStr) -> Result<Step, TrustedFileError> {
        if part == Component::RootDir.as_os_str() {
            self.at = Directory::root()?;
            return Ok(Step::Onward);
        }
        if part == Component::ParentDir.as_os_str() {
            self.at = self.at.parent()?;
            return Ok(Step::Onward);
        }
        let found = match self.at.stat(part) {
            Err(Errno::NOENT) if self.left.is_empty() => return Ok(Step::End(None)),
            Err(Errno::NOENT) => {
                check_new(&self.at, self.owners)?;
                return Err(missing(self.links > 0));
            }
            found => found?,
        };
        check(&self.at, Some(&found), self.owners)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink => self.follow_link(part).map(|()| Step::Onward),
            FileType::Directory => {
                self.at = self.at.enter(part)?;
                Ok(Step::Onward)
            }
            _ if self.left.is_empty() => Ok(Step::End(Some(found))),
            _ => Err(Errno::NOTDIR.into()),
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
}

fn missing(is_linked: bool) -> TrustedFileError {
    if is_linked { TrustedFileError::Dangling } else { TrustedFileError::Missing }
}
