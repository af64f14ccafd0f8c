//! The file that a change writes, after the owners of the way to it were checked.
//!
//! Root may change a file of the user that owns its directory, but follows no link of a user: it would create or replace files where
//! the link leads. Nor may a link of root lead to a directory of a user, who could read what is written.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::process::geteuid;

use super::folder::Folder;
use super::links::{Link, Route};
use super::problem::write_problem;

const ROOT: u32 = 0;
const WORLD_WRITABLE: u32 = 0o002;
/// The mode bit of a directory in which only its owner may rename or remove an entry.
const STICKY: u32 = 0o1000;

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
            let owner = fs::symlink_metadata(&link.path).map_err(|error| problem(&link.path, &error))?;
            target.check_link(&link, &owner, found.as_ref())?;
        }
        target.require_regular()?;
        if let Some(found) = found {
            target.check_owner(found.st_uid)?;
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
        self.check_owner(metadata.uid())?;
        if metadata.is_file() { Ok(Some((file, metadata))) } else { Err(not_regular(&self.file)) }
    }

    /// Creates or opens the file to lock it; never through a link, which could create a file elsewhere.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, or is a link or a special file.
    pub fn open_lock(&self) -> Result<File, String> {
        let (folder, name) = self.place()?;
        let is_link = |found: Stat| FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
        // For the error only: the opening refuses a link, but its errors differ from system to system.
        if self.stat()?.is_some_and(is_link) {
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
        self.check_owner(found.uid())?;
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
        self.stat().ok()?.map(|found| found.st_ino)
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
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Ok(()),
            FileType::Symlink => {
                Err(format!("{}: the file became a link during the change; retry", self.file.display()))
            }
            _ => Err(not_regular(&self.file)),
        }
    }

    fn name(&self) -> &OsStr {
        self.file.file_name().unwrap_or_default()
    }

    fn stat(&self) -> Result<Option<Stat>, String> {
        let Some(folder) = self.folder.as_ref().filter(|_| self.file.file_name().is_some()) else { return Ok(None) };
        folder.stat(self.name()).map_err(|error| problem(&self.file, &error))
    }

    /// Rejects the file of another user. Root may write for the directory's owner.
    fn check_owner(&self, owner: u32) -> Result<(), String> {
        let directory = self.folder.as_ref().and_then(|folder| folder.metadata().ok());
        let private = directory.filter(|directory| directory.st_mode & WORLD_WRITABLE == 0);
        let for_its_user = own() == ROOT && private.is_some_and(|directory| directory.st_uid == owner);
        if is_trusted(owner) || for_its_user { Ok(()) } else { Err(of_other_user(&self.file, owner)) }
    }

    fn check_link(&self, link: &Link, found: &Metadata, file: Option<&Stat>) -> Result<(), String> {
        reject_shared(link, found)?;
        let owner = found.uid();
        if own() == ROOT && owner != ROOT {
            return Err(self.link_of_user(link, owner));
        }
        if !is_trusted(owner) {
            return Err(of_other_user(&link.path, owner));
        }
        let is_system_link = owner == ROOT && !link.is_last;
        let directory = self.folder.as_ref().and_then(|folder| folder.metadata().ok());
        let reached = directory.into_iter().chain(file.copied()).map(|reached| reached.st_uid);
        // A user without root's rights can only reach its own files; a directory of root is as good as one's own.
        let mut others = reached.filter(|reached| !is_system_link && !is_trusted(*reached));
        others.next().map_or(Ok(()), |other| Err(self.leads_to_other_user(link, other)))
    }

    fn link_of_user(&self, link: &Link, owner: u32) -> String {
        let (link, target) = (link.path.display(), self.file.display());
        format!("{link}: root follows no link of user {owner}; run the command as that user, or name {target} itself")
    }

    fn leads_to_other_user(&self, link: &Link, owner: u32) -> String {
        let (link, target) = (link.path.display(), self.file.display());
        format!("{link}: the link leads to {target}, which user {owner} owns, not the link's owner; remove the link")
    }
}

/// Rejects a link that any user can redirect.
fn reject_shared(link: &Link, found: &Metadata) -> Result<(), String> {
    let mode = fs::metadata(directory(&link.path)).map_or(0, |directory| directory.mode());
    let is_fixed = mode & STICKY != 0 && is_trusted(found.uid()) && !link.is_last;
    if mode & WORLD_WRITABLE == 0 || is_fixed {
        return Ok(());
    }
    Err(format!(
        "{}: the file is a link in a world-writable directory, where any user can redirect it; remove it",
        link.path.display()
    ))
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

fn of_other_user(path: &Path, owner: u32) -> String {
    format!("{}: the file belongs to user {owner}, who could read or redirect its content; remove it", path.display())
}

fn is_trusted(owner: u32) -> bool {
    owner == ROOT || owner == own()
}

fn own() -> u32 {
    geteuid().as_raw()
}
