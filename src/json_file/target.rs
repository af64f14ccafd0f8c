//! The file that a change writes, after the owners of the way to it were checked.
//!
//! Root may change a file of the user that owns its directory, but follows no link of a user: it would create or replace files where
//! the link leads. Nor may a link of root lead to a directory of a user, who could read what is written.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::folder::{Entry, Folder};
use super::links::Route;
use super::ownership;
use super::problem::write_problem;

/// A checked file in its directory, which stays open. Its path has no links.
#[derive(Debug, Clone)]
pub struct Target {
    file: PathBuf,
    /// The file's directory; none while it is missing.
    folder: Option<Folder>,
}

impl Target {
    /// Follows a path to its file.
    ///
    /// # Errors
    /// Returns an error if the path is relative or a link leads nowhere, or if another user owns or can redirect a step of the way.
    pub fn of(path: &Path) -> Result<Self, String> {
        if !path.is_absolute() {
            return Err(format!("{}: the path is relative; give an absolute path", path.display()));
        }
        let Route { links, target, .. } = Route::follow(path)?;
        let folder = Folder::find(directory(&target)).map_err(|error| problem(path, &error))?;
        let target = Self { file: target, folder };
        let found = target.stat()?;
        for link in links {
            ownership::check_link(&target.file, target.folder.as_ref(), &link, found.as_ref())?;
        }
        target.require_regular()?;
        if let Some(found) = found {
            ownership::check_entry(&target.file, target.folder.as_ref(), &found)?;
        }
        Ok(target)
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Returns a file in the same directory that accompanies this one: `config.json.sync`.
    #[must_use]
    pub fn companion(&self, suffix: &str) -> Self {
        let mut name = self.file.as_os_str().to_owned();
        name.push(".");
        name.push(suffix);
        Self { file: name.into(), folder: self.folder.clone() }
    }

    /// Returns the same file with its directory open, which is created if it is missing.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be opened or created, or if a part of its path has become a link.
    pub fn opened(&self) -> Result<Self, String> {
        let folder = self.folder.clone().map_or_else(|| Folder::create(directory(&self.file)), Ok);
        let folder = folder.map_err(|error| write_problem(&self.file, &error))?;
        Ok(Self { file: self.file.clone(), folder: Some(folder) })
    }

    /// Returns the open directory and the file's name in it.
    pub(super) fn place(&self) -> Result<(&Folder, &OsStr), String> {
        let folder = self.folder.as_ref().ok_or_else(|| problem(&self.file, &io::ErrorKind::NotFound.into()))?;
        Ok((folder, self.name()))
    }

    /// Opens the file for reading after its owner was checked; `None` if it is missing.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, or is a link, a special file or another user's.
    pub fn open(&self) -> Result<Option<(File, Metadata)>, String> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let file = match folder.open(self.name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| problem(&self.file, &error))?,
        };
        // Of the open file, so that the owner that is checked is the one that a change keeps.
        let metadata = file.metadata().map_err(|error| problem(&self.file, &error))?;
        ownership::check_file(&self.file, Some(folder), &metadata)?;
        if metadata.is_file() { Ok(Some((file, metadata))) } else { Err(not_regular(&self.file)) }
    }

    /// Creates or opens the file to lock it; never through a link, which could create a file elsewhere.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, or is a link or a special file.
    pub fn open_lock(&self) -> Result<File, String> {
        let (folder, name) = self.place()?;
        // For the error only: the opening refuses a link, but its errors differ from system to system.
        if self.stat()?.is_some_and(|found| found.is_link()) {
            return Err(format!(
                "{}: the lock file is a link, which can lead anywhere; remove it",
                self.file.display()
            ));
        }
        let file = folder.open_append(name).map_err(|error| write_problem(&self.file, &error))?;
        let is_regular = file.metadata().is_ok_and(|found| found.is_file());
        if is_regular { Ok(file) } else { Err(not_regular(&self.file)) }
    }

    /// Opens the file for appending, and creates it with mode 0600 if it is missing.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, or is a link, a special file or another user's.
    pub fn open_append(&self) -> Result<File, String> {
        self.require_regular()?;
        let (folder, name) = self.place()?;
        let file = folder.open_append(name).map_err(|error| write_problem(&self.file, &error))?;
        let found = file.metadata().map_err(|error| problem(&self.file, &error))?;
        ownership::check_file(&self.file, Some(folder), &found)?;
        if found.is_file() { Ok(file) } else { Err(not_regular(&self.file)) }
    }

    /// Renames the file to another one of the same directory, which it replaces.
    ///
    /// # Errors
    /// Returns an error if the file is missing, or cannot be renamed.
    pub fn rename_to(&self, other: &Self) -> io::Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| folder.rename(self.name(), other.name()))
    }

    /// Returns the inode of the file; `None` if it is missing.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        self.stat().ok()?.map(|found| found.inode())
    }

    /// Removes the file.
    ///
    /// # Errors
    /// Returns an error if the file is missing, or cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| folder.remove(self.name()))
    }

    /// Rejects a directory, pipe, socket or device: a rename would replace it.
    pub(super) fn require_regular(&self) -> Result<(), String> {
        let Some(found) = self.stat()? else { return Ok(()) };
        if found.is_link() {
            return Err(format!("{}: the file became a link during the change; retry", self.file.display()));
        }
        if found.is_file() { Ok(()) } else { Err(not_regular(&self.file)) }
    }

    fn name(&self) -> &OsStr {
        self.file.file_name().unwrap_or_default()
    }

    fn stat(&self) -> Result<Option<Entry>, String> {
        let Some(folder) = self.folder.as_ref().filter(|_| self.file.file_name().is_some()) else { return Ok(None) };
        folder.stat(self.name()).map_err(|error| problem(&self.file, &error))
    }
}

fn directory(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

fn problem(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn not_regular(path: &Path) -> String {
    format!("{} is not a regular file; name a regular file or a new path", path.display())
}
