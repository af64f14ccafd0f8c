//! Users that can write because the mode lets the group write: the group, and those that an access control list names.

use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::{Stat, getxattr};
use rustix::io::Errno;

use super::owners::Owners;

/// The permission to write of the group.
const GROUP_WRITABLE: u32 = 0o020;
/// The extended attribute with the POSIX access control list, if there is one beyond the mode.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// Users that are not trusted and can write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GroupWriters {
    /// Other users of this group.
    Group(u32),
    /// Users and groups that an access control list names. The mode of the group is then the limit of the whole list.
    List,
}

impl GroupWriters {
    /// Returns `None` if no untrusted user can write. The entries of a list are not read: one that lets only trusted users write
    /// says no more than a mode.
    pub(super) fn of(file: impl AsFd, found: &Stat, owners: &Owners) -> Option<Self> {
        if found.st_mode & GROUP_WRITABLE == 0 {
            return None;
        }
        if !owners.trust_group(found.st_gid) {
            return Some(Self::Group(found.st_gid));
        }
        has_list(file).then_some(Self::List)
    }
}

/// Asks by the path of the descriptor: a directory's (`O_PATH`) has no other way. Without an answer there may be a list.
fn has_list(file: impl AsFd) -> bool {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let mut none: [u8; 0] = [];
    !matches!(getxattr(path, ACCESS_LIST, &mut none[..]), Err(Errno::NODATA | Errno::OPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags, XattrFlags, fstat, open, setxattr};

    use super::*;

    /// The list that `setfacl -m u:4242:rw` writes: the version, then tag, permissions and ID of each entry.
    fn list() -> Vec<u8> {
        const ANY: u32 = u32::MAX;
        let entries: [(u16, u16, u32); 5] = [(1, 6, ANY), (2, 6, 4_242), (4, 4, ANY), (0x10, 6, ANY), (0x20, 4, ANY)];
        let entries = entries.iter().flat_map(|(tag, permissions, id)| {
            [tag.to_le_bytes().as_slice(), &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        });
        2_u32.to_le_bytes().into_iter().chain(entries).collect()
    }

    #[test]
    fn users_of_an_access_list_are_writers_of_files_and_directories() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let root = Owners { user: 0, group: 0, any_user: false, groups_above: false };
        for path in [directory.path(), &file] {
            let opened = open(path, OFlags::PATH, Mode::empty()).unwrap();
            assert!(!has_list(&opened));
            setxattr(path, ACCESS_LIST, &list(), XattrFlags::empty()).unwrap();
            let mut found = fstat(&opened).unwrap();
            assert_eq!(found.st_mode & GROUP_WRITABLE, GROUP_WRITABLE, "the mode shows the limit of the list");
            assert!(has_list(&opened));
            found.st_gid = 0;
            assert_eq!(GroupWriters::of(&opened, &found, &root), Some(GroupWriters::List));
            found.st_mode &= !GROUP_WRITABLE;
            assert_eq!(GroupWriters::of(&opened, &found, &root), None);
        }
    }
}
