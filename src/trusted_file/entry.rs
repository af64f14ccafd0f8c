//! Entries of directories: who could replace a file, a link or a directory.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Stat, fstat, major, minor};

use super::directory::Directory;
use super::error::TrustedFileError;
use super::group_writers::GroupWriters;
use super::owners::{Owners, ROOT};

/// The permission to read of users that are neither the owner nor in the group.
pub(super) const WORLD_READABLE: u32 = 0o004;
/// The permission to write of these users.
pub(super) const WORLD_WRITABLE: u32 = 0o002;
/// The mode bit of a directory in which only its owner may rename or remove an entry.
const STICKY: u32 = 0o1000;
/// Device number of `/dev/null`, an empty file.
const NULL: (u32, u32) = (1, 3);

/// Rejects an entry that another user could replace; `None` is a missing entry, which such a user could create.
///
/// The directory must belong to root or the broker's user, and only they may write it. One that others can write is accepted with the
/// sticky bit, if the entry belongs to root or the broker's user: kubelet's Secret and projected volumes are so (1777). It is also
/// accepted in a volume that only kubelet writes, if it belongs to root: `ConfigMap` volumes have mode 0777. No other read-only mount is
/// an excuse, because others can have the same directory writable.
pub(super) fn check(directory: &Directory, entry: Option<&Stat>, owners: &Owners) -> Result<(), TrustedFileError> {
    let found = directory.metadata()?;
    let Some(problem) = problem_of(directory, &found, owners) else { return Ok(()) };
    if found.st_uid == ROOT && directory.is_in_api_volume() {
        return Ok(());
    }
    let is_group_alone = matches!(problem, TrustedFileError::InGroupWritableDirectory { .. });
    if owners.groups_above && is_group_alone && found.st_uid == ROOT && entry.is_some_and(is_directory) {
        return Ok(());
    }
    let is_sticky = found.st_mode & STICKY != 0 && owners.trust_user(found.st_uid, &directory.path);
    match entry {
        Some(entry) if is_sticky && owners.owns(entry.st_uid) => Ok(()),
        Some(entry) if is_sticky => {
            Err(TrustedFileError::Replaceable { directory: directory.path.clone(), owner: entry.st_uid })
        }
        _ => Err(problem),
    }
}

/// Rejects a directory in which another user could replace a file that the broker creates. With the sticky bit only the owner can.
pub(super) fn check_new(directory: &Directory, owners: &Owners) -> Result<(), TrustedFileError> {
    let mut own = directory.metadata()?;
    own.st_uid = owners.user;
    own.st_mode = FileType::RegularFile.as_raw_mode();
    check(directory, Some(&own), owners)
}

/// Rejects an open file that others can write. That its mount is read-only to the broker does not stop them.
pub(super) fn check_file(path: &Path, file: impl AsFd, owners: &Owners) -> Result<(), TrustedFileError> {
    let found = fstat(&file)?;
    if !is_regular(&found) {
        return Ok(());
    }
    if found.st_mode & WORLD_WRITABLE != 0 {
        return Err(TrustedFileError::WorldWritable);
    }
    if !owners.trust_user(found.st_uid, path) {
        return Err(TrustedFileError::OfOtherUser { owner: found.st_uid });
    }
    match GroupWriters::of(file, &found, owners) {
        None => Ok(()),
        Some(GroupWriters::Group(group)) => Err(TrustedFileError::GroupWritable { group }),
        Some(GroupWriters::List) => Err(TrustedFileError::WritableByAccessList),
    }
}

/// Returns why others could replace the entries of a directory.
fn problem_of(directory: &Directory, found: &Stat, owners: &Owners) -> Option<TrustedFileError> {
    let path = || directory.path.clone();
    if !owners.trust_user(found.st_uid, &directory.path) {
        return Some(TrustedFileError::InDirectoryOfOtherUser { directory: path(), owner: found.st_uid });
    }
    if found.st_mode & WORLD_WRITABLE != 0 {
        return Some(TrustedFileError::InWorldWritableDirectory { directory: path() });
    }
    Some(match directory.group_writers(found, owners)? {
        GroupWriters::Group(group) => TrustedFileError::InGroupWritableDirectory { directory: path(), group },
        GroupWriters::List => TrustedFileError::InDirectoryWithAccessList { directory: path() },
    })
}

/// Returns whether an entry may be opened: a regular file, or `/dev/null`.
pub(super) fn is_readable_kind(found: &Stat) -> bool {
    let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
    is_regular(found) || is_device && (major(found.st_rdev), minor(found.st_rdev)) == NULL
}

fn is_directory(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

pub(super) fn is_regular(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}
