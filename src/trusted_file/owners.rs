//! Owners: the users and groups that may change a file that decides identity.

use std::fs;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{getegid, geteuid};

const ROOT: u32 = 0;

/// Whether files of any user are accepted, for commands that check files for another user.
static ANY_OWNER: AtomicBool = AtomicBool::new(false);

/// Accepts files of every user from now on: a configuration is often checked by another user than the broker's. Modes are still
/// judged. A process that serves must never call this.
pub fn accept_any_owner() {
    ANY_OWNER.store(true, Ordering::Relaxed);
}

/// The user for whom files are judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owners {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) any_user: bool,
}

impl Owners {
    /// Returns those that this process trusts: root and its own user.
    pub(super) fn of_process() -> Self {
        Self { user: geteuid().as_raw(), group: getegid().as_raw(), any_user: ANY_OWNER.load(Ordering::Relaxed) }
    }

    /// Returns whether a user may own a file and its directories.
    pub(super) fn trust_user(&self, user: u32) -> bool {
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
fn is_private(group: u32, user: u32, groups: &str, users: &str) -> bool {
    let id = |field: Option<&&str>| field.and_then(|id| id.parse::<u32>().ok());
    let users: Vec<Vec<&str>> = users.lines().map(|line| line.split(':').collect()).collect();
    let mut names = users.iter().filter(|fields| id(fields.get(2)) == Some(user)).filter_map(|fields| fields.first());
    let own = names.next().copied().unwrap_or_default();
    let mut groups = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let is_foreign = |member: &str| !member.is_empty() && member != own;
    let has_members = groups.any(|fields| {
        let members = fields.get(3).copied().unwrap_or_default();
        id(fields.get(2)) == Some(group) && members.split(',').map(str::trim).any(is_foreign)
    });
    let is_primary = |fields: &Vec<&str>| id(fields.get(3)) == Some(group) && id(fields.get(2)) != Some(user);
    !has_members && !users.iter().any(is_primary)
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
            ("ecr-broker:x:998:alice", "", false),
            ("ecr-broker:x:998:ecr-broker, alice", "", false),
            ("ecr-broker:x:998:\nalias:x:998:alice", "", false),
            ("ecr-broker:x:998:", "\nbob:x:1001:998::/:/bin/sh", false),
        ] {
            let users = format!("{users}{more}");
            assert_eq!(is_private(998, 998, groups, &users), private, "{groups:?} {more:?}");
        }
    }

    #[test]
    fn only_root_and_the_own_user_are_trusted() {
        let owners = Owners { user: 4_242, group: 4_343, any_user: false };
        assert!([0, 4_242].into_iter().all(|user| owners.trust_user(user)) && !owners.trust_user(1));
        assert!(owners.trust_group(0) && !owners.trust_group(4_242));
        assert!(Owners { any_user: true, ..owners }.trust_user(1));
    }
}
