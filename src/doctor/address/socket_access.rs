//! Access to a Unix socket: why the kernel denies it, and how this user gets it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

use super::super::users;

/// Groups whose members have root's rights, or can get at passwords.
const ROOT_GROUPS: [&str; 9] = ["root", "wheel", "sudo", "admin", "docker", "lxd", "disk", "kmem", "shadow"];
/// Permission to search a directory.
const SEARCH: u32 = 0o1;
/// Permission to write, which connecting to a socket needs.
const WRITE: u32 = 0o2;

/// A way for this user to get access.
#[derive(Debug, PartialEq, Eq)]
enum SocketAccess {
    /// Membership in this group.
    JoinGroup(String),
    /// Membership in the group of this number. This host's files do not list the user, so it may be a container's.
    JoinGroupByNumber(u32),
    /// A new login: the user joined this group after the current one.
    LogInAgain(String),
    /// Another group on the file: members of this one can do far more than call the broker.
    GroupTooPowerful(String),
    /// The file mode allows access already; something else denies it.
    NotByMode,
    /// Another group or mode on the file.
    ChangeFile,
}

/// Owner and mode of a file.
#[derive(Debug, Clone, Copy)]
struct FileMode {
    uid: u32,
    gid: u32,
    bits: u32,
    /// The permission that access needs.
    needed: u32,
}

/// The user that needs access.
#[derive(Debug)]
struct User {
    uid: u32,
    groups: BTreeSet<u32>,
    /// Name in this host's files.
    name: Option<String>,
}

/// Returns the fix for a socket, or a directory on its path, that denies access.
pub(super) fn fix(path: &Path) -> String {
    let file = path.display();
    match access(path) {
        SocketAccess::JoinGroup(group) => format!("sudo usermod -aG {group} {}, and log in again", users::user()),
        SocketAccess::JoinGroupByNumber(gid) => format!(
            "start this container with the group {gid}: docker run --group-add {gid}, or supplementalGroups: [{gid}] in the pod's securityContext; outside of a container, add this user to the group in the directory service"
        ),
        SocketAccess::LogInAgain(group) => format!("log in again: you joined group {group} after this login"),
        SocketAccess::GroupTooPowerful(group) => {
            format!("{} for callers only: members of {group} can do far more", another_group(path))
        }
        SocketAccess::NotByMode => format!(
            "the file mode allows access: check SELinux or AppArmor (ausearch -m avc, journalctl -k), access lists (getfacl {file}), and the directories above (namei -l {file})"
        ),
        SocketAccess::ChangeFile => format!("{} that you are in", another_group(path)),
    }
}

/// The broker creates its socket at each start, so that a change of the file alone does not last.
fn another_group(path: &Path) -> String {
    if path.is_dir() {
        let directory = path.display();
        return format!(
            "ask the operator to give the directory {directory} (in a unit: Group=) and server.socket_group a group"
        );
    }
    "ask the operator to set server.socket_group to a group".to_owned()
}

fn access(path: &Path) -> SocketAccess {
    let Ok(metadata) = fs::metadata(path) else { return SocketAccess::ChangeFile };
    let needed = if metadata.is_dir() { SEARCH } else { WRITE };
    let mode = FileMode { uid: metadata.uid(), gid: metadata.gid(), bits: metadata.mode(), needed };
    let uid = geteuid().as_raw();
    let user = User { uid, groups: users::group_ids(), name: users::user_name(uid) };
    mode.access(&user, users::group_name(mode.gid), &users::members(mode.gid))
}

impl FileMode {
    /// `group` and `members` are the file's group and its members.
    fn access(self, user: &User, group: String, members: &[String]) -> SocketAccess {
        let allows = |class: u32| (self.bits >> class) & self.needed != 0;
        let (is_owner, is_member) = (user.uid == self.uid, user.groups.contains(&self.gid));
        // The kernel checks one class only: the first of owner, group and others that the user is in.
        let class = if is_owner { 6 } else { u32::from(is_member) * 3 };
        if user.uid == 0 || allows(class) {
            return SocketAccess::NotByMode;
        }
        if is_owner || is_member || !allows(3) {
            return SocketAccess::ChangeFile;
        }
        match &user.name {
            Some(name) if members.contains(name) => SocketAccess::LogInAgain(group),
            _ if self.gid == 0 || ROOT_GROUPS.contains(&&*group) => SocketAccess::GroupTooPowerful(group),
            Some(_) => SocketAccess::JoinGroup(group),
            None => SocketAccess::JoinGroupByNumber(self.gid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: u32 = 999;

    fn ci(groups: &[u32]) -> User {
        User { uid: 1002, groups: groups.iter().copied().collect(), name: Some("ci".into()) }
    }

    fn socket(uid: u32, gid: u32, bits: u32) -> FileMode {
        FileMode { uid, gid, bits, needed: WRITE }
    }

    #[test]
    fn access_by_group_names_the_group_and_spares_root_groups() {
        let group = || "ecr-broker".to_owned();
        let unlisted = User { name: None, ..ci(&[1002]) };
        let others = ["others".to_owned()];
        let file = socket(BROKER, BROKER, 0o660);
        assert_eq!(file.access(&ci(&[1002]), group(), &others), SocketAccess::JoinGroup(group()));
        assert_eq!(file.access(&ci(&[1002]), group(), &["ci".into()]), SocketAccess::LogInAgain(group()));
        assert_eq!(file.access(&unlisted, group(), &others), SocketAccess::JoinGroupByNumber(BROKER));
        for (gid, name) in [(0, "root"), (0, "0"), (990, "docker")] {
            for user in [&ci(&[1002]), &unlisted] {
                let access = socket(0, gid, 0o660).access(user, name.to_owned(), &others);
                assert_eq!(access, SocketAccess::GroupTooPowerful(name.to_owned()));
            }
        }
        let directory = FileMode { needed: SEARCH, ..socket(BROKER, BROKER, 0o710) };
        assert_eq!(directory.access(&ci(&[1002]), group(), &others), SocketAccess::JoinGroup(group()));
    }

    #[test]
    fn access_by_mode_is_not_blamed_on_a_group() {
        let access = |file: FileMode, user: &User| file.access(user, "ecr-broker".to_owned(), &[]);
        // The user is in the group, or others have access, or the user is root.
        assert_eq!(access(socket(BROKER, BROKER, 0o660), &ci(&[1002, BROKER])), SocketAccess::NotByMode);
        assert_eq!(access(socket(BROKER, BROKER, 0o666), &ci(&[1002])), SocketAccess::NotByMode);
        assert_eq!(access(socket(BROKER, BROKER, 0o660), &User { uid: 0, ..ci(&[0]) }), SocketAccess::NotByMode);
        // The bits of the owner deny access, or those of the group.
        assert_eq!(access(socket(1002, BROKER, 0o060), &ci(&[1002])), SocketAccess::ChangeFile);
        assert_eq!(access(socket(BROKER, BROKER, 0o606), &ci(&[BROKER])), SocketAccess::ChangeFile);
    }
}
