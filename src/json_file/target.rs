//! The file that a change writes, after the owners of the way to it were checked.
//!
//! Root may change a file of the user that owns its directory. So a user's link must not lead root to another user's directory: root
//! would create or replace files there. Nor may a link of root lead to a directory of a user, who could read what is written.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::links::{Link, Route};

const ROOT: u32 = 0;
const WORLD_WRITABLE: u32 = 0o002;
/// The mode bit of a directory in which only its owner may rename or remove an entry.
const STICKY: u32 = 0o1000;

/// A checked file. Its path has no links.
#[derive(Debug)]
pub struct Target {
    pub(super) file: PathBuf,
    /// Owner of a new file, if it is not the user of this process: the user whose link led here.
    pub(super) owner: Option<u32>,
}

impl Target {
    /// Follows a path to its file.
    ///
    /// # Errors
    /// Returns an error if a link leads nowhere, or if another user owns or can redirect a step of the way.
    pub fn of(path: &Path) -> Result<Self, String> {
        let Route { links, target, .. } = Route::follow(path)?;
        let mut owner = None;
        for link in links {
            let found =
                fs::symlink_metadata(&link.path).map_err(|error| format!("{}: {error}", link.path.display()))?;
            check_link(&link, &found, &target)?;
            owner = owner.or_else(|| Some(found.uid()).filter(|owner| *owner != own()));
        }
        if let Ok(found) = fs::symlink_metadata(&target) {
            check_file(&target, &found)?;
        }
        Ok(Self { file: target, owner: owner.filter(|owner| *owner != ROOT) })
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file
    }
}

/// Rejects the file of another user. Root may write for the directory's owner.
pub(super) fn check_file(path: &Path, found: &Metadata) -> Result<(), String> {
    if found.is_symlink() {
        return Err(format!("{}: the file became a link during the change; retry", path.display()));
    }
    let for_its_user = own() == ROOT && owner_of_private_directory(path) == Some(found.uid());
    if is_trusted(found.uid()) || for_its_user {
        return Ok(());
    }
    Err(of_other_user(path, found.uid()))
}

fn check_link(link: &Link, found: &Metadata, target: &Path) -> Result<(), String> {
    reject_shared(link, found)?;
    let owner = found.uid();
    if !is_trusted(owner) && (own() != ROOT || owner_of_private_directory(&link.path) != Some(owner)) {
        return Err(of_other_user(&link.path, owner));
    }
    let is_system_link = owner == ROOT && !link.is_last;
    let directory = target.parent().and_then(|directory| fs::metadata(directory).ok());
    let reached = directory.into_iter().chain(fs::symlink_metadata(target).ok());
    for reached in reached.filter(|_| !is_system_link) {
        // For root, both belong to the link's owner. For another user, a directory of root is as good as one's own.
        let may_reach = if own() == ROOT { reached.uid() == owner } else { is_trusted(reached.uid()) };
        if !may_reach {
            return Err(leads_to_other_user(link, target, reached.uid()));
        }
    }
    Ok(())
}

/// Rejects a link that any user can redirect.
fn reject_shared(link: &Link, found: &Metadata) -> Result<(), String> {
    let mode = directory_of(&link.path).map_or(0, |directory| directory.mode());
    let is_fixed = mode & STICKY != 0 && is_trusted(found.uid()) && !link.is_last;
    if mode & WORLD_WRITABLE == 0 || is_fixed {
        return Ok(());
    }
    Err(format!(
        "{}: the file is a link in a world-writable directory, where any user can redirect it; remove it",
        link.path.display()
    ))
}

fn owner_of_private_directory(path: &Path) -> Option<u32> {
    directory_of(path).filter(|directory| directory.mode() & WORLD_WRITABLE == 0).map(|directory| directory.uid())
}

fn directory_of(path: &Path) -> Option<Metadata> {
    fs::metadata(path.parent()?).ok()
}

fn of_other_user(path: &Path, owner: u32) -> String {
    format!("{}: the file belongs to user {owner}, who could read or redirect its content; remove it", path.display())
}

fn leads_to_other_user(link: &Link, target: &Path, owner: u32) -> String {
    let (link, target) = (link.path.display(), target.display());
    format!("{link}: the link leads to {target}, which user {owner} owns, not the link's owner; remove the link")
}

fn is_trusted(owner: u32) -> bool {
    owner == ROOT || owner == own()
}

fn own() -> u32 {
    geteuid().as_raw()
}
