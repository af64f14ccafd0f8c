//! The way to a file: follows a path link by link, and has each link and the file judged.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::entry::check;
use super::error::TrustedFileError;

/// Links that are followed, as many as the kernel follows.
const MAX_LINKS: usize = 40;

/// Returns the file's path without links, after every link on the way and the file itself were found trustworthy.
pub(super) fn follow(path: &Path) -> Result<PathBuf, TrustedFileError> {
    let mut route = Route::default();
    // Not canonical: the links in the path must be judged.
    route.prepend(&std::path::absolute(path)?);
    while let Some(part) = route.left.pop_front() {
        route.enter(&part)?;
    }
    Ok(route.at)
}

#[derive(Debug, Default)]
struct Route {
    /// The directory that was reached, without links.
    at: PathBuf,
    /// The parts of the path after it.
    left: VecDeque<OsString>,
    links: usize,
}

impl Route {
    /// Puts a path before the parts that are left. An absolute one begins at the root again.
    fn prepend(&mut self, path: &Path) {
        for part in path.components().rev().filter(|part| *part != Component::CurDir) {
            self.left.push_front(part.as_os_str().to_owned());
        }
    }

    fn enter(&mut self, part: &OsStr) -> Result<(), TrustedFileError> {
        if part == Component::ParentDir.as_os_str() {
            self.at.pop();
            return Ok(());
        }
        // The root replaces the path.
        let entry = self.at.join(part);
        let found = fs::symlink_metadata(&entry).map_err(|error| self.problem(error))?;
        if found.is_symlink() {
            return self.follow_link(&entry, &found);
        }
        if self.left.is_empty() && entry.parent().is_some() {
            check(&self.at, Some(&found))?;
        }
        self.at = entry;
        Ok(())
    }

    fn follow_link(&mut self, link: &Path, found: &Metadata) -> Result<(), TrustedFileError> {
        check(&self.at, Some(found))?;
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(io::Error::from(rustix::io::Errno::LOOP).into());
        }
        self.prepend(&fs::read_link(link)?);
        Ok(())
    }

    /// Returns the problem of an entry that cannot be examined. A world-writable directory is the problem even of a missing file:
    /// the broker must not create one there.
    fn problem(&self, error: io::Error) -> TrustedFileError {
        match TrustedFileError::from(error) {
            TrustedFileError::Missing if self.left.is_empty() => {
                check(&self.at, None).err().unwrap_or_else(|| self.missing())
            }
            TrustedFileError::Missing => self.missing(),
            other => other,
        }
    }

    fn missing(&self) -> TrustedFileError {
        if self.links == 0 { TrustedFileError::Missing } else { TrustedFileError::Dangling }
    }
}
