//! Owners by user IDs.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

use rustix::process::geteuid;

use crate::json_file::folder::{Entry, Folder};
use crate::json_file::links::Link;

const ROOT: u32 = 0;
const WORLD_WRITABLE: u32 = 0o002;
/// The mode bit of a directory in which only its owner may rename or remove an entry.
const STICKY: u32 = 0o1000;
/// The mode bits of the group and of others.
const FOR_OTHERS: u32 = 0o077;

/// Returns whether only the owner has rights.
pub(in crate::json_file) fn is_private(metadata: &Metadata) -> bool {
    metadata.mode() & FOR_OTHERS == 0
}

/// Gives a new file the owner of the old one. Only root may change the owner, and only root writes files of other users.
pub(in crate::json_file) fn keep(new: &File, old: &Metadata) {
    _ = fchown(new, Some(old.uid()), Some(old.gid()));
}

/// Rejects an entry of another user.
pub(in crate::json_file) fn check_entry(file: &Path, folder: Option<&Folder>, entry: &Entry) -> Result<(), String> {
    check_owner(file, folder, entry.owner())
}

/// Rejects an open file of another user.
pub(in crate::json_file) fn check_file(file: &Path, folder: Option<&Folder>, found: &Metadata) -> Result<(), String> {
    check_owner(file, folder, found.uid())
}

/// Rejects the file of another user. Root may write for the directory's owner.
fn check_owner(file: &Path, folder: Option<&Folder>, owner: u32) -> Result<(), String> {
    let directory = folder.and_then(|folder| folder.metadata().ok());
    let private = directory.filter(|directory| !directory.is_world_writable());
    let for_its_user = own() == ROOT && private.is_some_and(|directory| directory.owner() == owner);
    if is_trusted(owner) || for_its_user { Ok(()) } else { Err(of_other_user(file, owner)) }
}

/// Rejects a link to a file that another user owns or can redirect.
pub(in crate::json_file) fn check_link(
    target: &Path,
    folder: Option<&Folder>,
    link: &Link,
    entry: Option<&Entry>,
) -> Result<(), String> {
    let found = fs::symlink_metadata(&link.path).map_err(|error| format!("{}: {error}", link.path.display()))?;
    reject_shared(link, &found)?;
    let owner = found.uid();
    if own() == ROOT && owner != ROOT {
        return Err(link_of_user(link, target, owner));
    }
    if !is_trusted(owner) {
        return Err(of_other_user(&link.path, owner));
    }
    let is_system_link = owner == ROOT && !link.is_last;
    let directory = folder.and_then(|folder| folder.metadata().ok());
    let reached = directory.into_iter().chain(entry.copied()).map(|found| found.owner());
    // A user without root's rights can only reach its own files; a directory of root is as good as one's own.
    let mut others = reached.filter(|reached| !is_system_link && !is_trusted(*reached));
    others.next().map_or(Ok(()), |other| Err(leads_to_other_user(link, target, other)))
}

/// Rejects a link that any user can redirect.
fn reject_shared(link: &Link, found: &Metadata) -> Result<(), String> {
    let directory = link.path.parent().unwrap_or(&link.path);
    let mode = fs::metadata(directory).map_or(0, |directory| directory.mode());
    let is_fixed = mode & STICKY != 0 && is_trusted(found.uid()) && !link.is_last;
    if mode & WORLD_WRITABLE == 0 || is_fixed {
        return Ok(());
    }
    Err(format!(
        "{}: the file is a link in a world-writable directory, where any user can redirect it; remove it",
        link.path.display()
    ))
}

fn link_of_user(link: &Link, target: &Path, owner: u32) -> String {
    let (link, target) = (link.path.display(), target.display());
    format!("{link}: root follows no link of user {owner}; run the command as that user, or name {target} itself")
}

fn leads_to_other_user(link: &Link, target: &Path, owner: u32) -> String {
    let (link, target) = (link.path.display(), target.display());
    format!("{link}: the link leads to {target}, which user {owner} owns, not the link's owner; remove the link")
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
