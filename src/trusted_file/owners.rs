//! Owners: the users and groups that may change a file that decides identity.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use rustix::process::{getegid, geteuid};

use crate::sync::lock;

pub(super) const ROOT: u32 = 0;

/// The user for whom files are judged, if it is not that of this process.
static CHECKED_FOR: OnceLock<Owners> = OnceLock::new();

/// The owners beside root that were accepted because any is, each with the first of its files.
static ACCEPTED: Mutex<BTreeMap<u32, PathBuf>> = Mutex::new(BTreeMap::new());

/// Accepts files of every user from now on: a configuration is often checked by another user than the broker's. Modes are still
/// judged. A process that serves must never call this.
pub fn accept_any_owner() {
    let _ = CHECKED_FOR.set(Owners { any_user: true, ..Owners::of_process() });
}

/// Judges files from now on as a broker of this user and primary group does. A process that serves must never call this.
pub fn judge_for(user: u32, group: u32) {
    let _ = CHECKED_FOR.set(Owners { user, group, any_user: false, groups_above: false });
}

/// Returns the owners beside root that were accepted since [`accept_any_owner`], each with a file or directory.
#[must_use]
pub fn accepted_owners() -> BTreeMap<u32, PathBuf> {
    lock(&ACCEPTED).clone()
}

/// The user for whom files are judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owners {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) any_user: bool,
    /// Whether a group may write root's directories above the one of the file: Ubuntu's `/var/log` belongs to root:syslog (0775).
    pub(super) groups_above: bool,
}

impl Owners {
    /// Returns those that this process trusts for itself.
    pub(super) fn of_process() -> Self {
        Self { user: geteuid().as_raw(), group: getegid().as_raw(), any_user: false, groups_above: false }
    }

    /// Returns the same for a log. A group that rotates the system's logs could move its directory, as it could the system's own.
    pub(super) fn of_logs(self) -> Self {
        Self { groups_above: true, ..self }
    }

    /// Returns those that are trusted: root and the broker's user, which is mostly that of this process.
    pub(super) fn of_broker() -> Self {
        CHECKED_FOR.get().copied().unwrap_or_else(Self::of_process)
    }

    /// Returns whether a user may own this file or directory.
    pub(super) fn trust_user(&self, user: u32, path: &Path) -> bool {
        if self.any_user && user != ROOT {
            lock(&ACCEPTED).entry(user).or_insert_with(|| path.to_owned());
        }
        self.any_user || self.owns(user)
    }

    /// Returns whether a user is root or the broker's.
    pub(super) fn owns(&self, user: u32) -> bool {
        user == ROOT || user == self.user
    }

    /// Returns whether a group may write: root's, or the user's own group if no other user is in it. Callers join the broker's group.
    pub(super) fn trust_group(&self, group: u32) -> bool {
        group == ROOT || group == self.group && self.is_alone_in(group).unwrap_or(false)
    }

    /// Reads the files of users and groups; other directories, such as LDAP, are not asked.
    fn is_alone_in(&self, group: u32) -> Option<bool> {
        Some(is_private(group, self.user, &read("/etc/group")?, &read("/etc/passwd")?))
    }
}

/// Returns a text; an image without the file has no users to name.
fn read(path: &str) -> Option<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Some(String::new()),
        text => text.ok(),
    }
}

/// Returns whether no user but `user` has this group, by the lines of `/etc/group` and `/etc/passwd`.
///
/// Files that list others, but not this user and this group, do not know who else is in the group: LDAP does.
fn is_private(group: u32, user: u32, groups: &str, users: &str) -> bool {
    let (groups, users) = (lines_of(groups), lines_of(users));
    let has_id = |line: &&Vec<&str>, id| id_in(line, 2) == Some(id);
    let mut own_lines = users.iter().filter(|line| has_id(line, user));
    let own = own_lines.next().and_then(|line| line.first().copied());
    let is_foreign = |member: &str| !member.is_empty() && Some(member) != own;
    let mut group_lines = groups.iter().filter(|line| has_id(line, group)).peekable();
    let is_known = (users.is_empty() || own.is_some()) && (groups.is_empty() || group_lines.peek().is_some());
    let members = group_lines.flat_map(|line| line.get(3).copied().unwrap_or_default().split(','));
    let is_primary = |line: &Vec<&str>| id_in(line, 3) == Some(group) && id_in(line, 2) != Some(user);
    is_known && !members.map(str::trim).any(is_foreign) && !users.iter().any(is_primary)
}

fn lines_of(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split(':').collect()).collect()
}

fn id_in(line: &[&str], field: usize) -> Option<u32> {
    line.get(field)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_is_private_while_no_other_user_is_in_it() {
        let users =
            "root:x:0:0::/root:/bin/sh\necr-broker:x:998:998::/:/bin/false\nalice:x:1000:1000::/home/alice:/bin/sh";
        for (groups, more, private) in [
            ("ecr-broker:x:998:", "", true),
            ("ecr-broker:x:998:ecr-broker", "", true),
            ("", "", true),
            ("root:x:0:", "", false),
            ("ecr-broker:x:998:alice", "", false),
            ("ecr-broker:x:998:ecr-broker, alice", "", false),
            ("ecr-broker:x:998:\nalias:x:998:alice", "", false),
            ("ecr-broker:x:998:", "\nbob:x:1001:998::/:/bin/sh", false),
        ] {
            let users = format!("{users}{more}");
            assert_eq!(is_private(998, 998, groups, &users), private, "{groups:?} {more:?}");
        }
    }

    /// Users and groups of LDAP are in neither file.
    #[test]
    fn group_of_a_user_that_the_files_do_not_list_is_not_private() {
        let (users, groups) = ("root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh", "root:x:0:\nalice:x:1000:");
        assert!(is_private(1_000, 1_000, groups, users));
        for (group, user) in [(10_000, 10_001), (1_000, 10_001), (10_000, 1_000)] {
            assert!(!is_private(group, user, groups, users), "{user}:{group}");
        }
        assert!(!is_private(10_000, 10_001, "", users) && !is_private(10_000, 10_001, groups, ""));
        assert!(is_private(10_000, 10_001, "", ""), "an image without the files has no other users");
    }

    #[test]
    fn only_root_and_the_own_user_are_trusted() {
        let owners = Owners { user: 4_242, group: 4_343, any_user: false, groups_above: false };
        let path = Path::new("/file");
        assert!([0, 4_242].into_iter().all(|user| owners.trust_user(user, path)) && !owners.trust_user(1, path));
        assert!(owners.trust_group(0) && !owners.trust_group(4_242));
        assert!(Owners { any_user: true, ..owners }.trust_user(1, path));
    }
}
