//! The broker's user, for commands that another user runs.

use std::fs;

use rustix::process::geteuid;

use crate::terminal::print_error;
use crate::trusted_file;

/// The users of this host. Those of a directory service are named by their user IDs.
const USERS: &str = "/etc/passwd";

/// A user and its primary group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokerUser {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// Reads a user's name or ID.
pub(super) fn parse(text: &str) -> Result<BrokerUser, String> {
    find(text, &fs::read_to_string(USERS).unwrap_or_default())
        .ok_or_else(|| format!("{USERS} does not list this user; correct the name, or use its user ID"))
}

/// Judges the owners of files as this user's broker does. Without a user every owner is accepted, because another user than the
/// broker's may run the command.
pub(super) fn judge_files_as(user: Option<BrokerUser>) {
    match user {
        Some(BrokerUser { user, group }) => trusted_file::judge_for(user, group),
        None => trusted_file::accept_any_owner(),
    }
}

/// Warns of owners whose files `serve` reads only as these users. Returns the process's user if it owns one of the files.
pub(super) fn warn_of_owners() -> Option<u32> {
    let mut owners = trusted_file::accepted_owners();
    let own = geteuid().as_raw();
    let owns_one = owners.remove(&own).map(|_| own);
    for (owner, file) in owners {
        let file = file.display();
        print_error(format_args!(
            "warning: {file} belongs to user {owner}; serve reads it only as this user (see --user)"
        ));
    }
    owns_one
}

/// Finds a user in the lines of `/etc/passwd`. One that is not listed has the group with its number, as images have it.
fn find(text: &str, users: &str) -> Option<BrokerUser> {
    let listed = users.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let (name, user, group) = (fields.first()?, fields.get(2)?, fields.get(3)?);
        let is_found = *name == text || *user == text;
        is_found.then_some(BrokerUser { user: user.parse().ok()?, group: group.parse().ok()? })
    });
    listed.or_else(|| text.parse().ok().map(|id| BrokerUser { user: id, group: id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_is_found_by_name_and_by_id() {
        let users = "root:x:0:0::/root:/bin/sh\n\necr-broker:x:998:997::/:/bin/false";
        let broker = Some(BrokerUser { user: 998, group: 997 });
        for (text, expected) in [
            ("ecr-broker", broker),
            ("998", broker),
            ("65532", Some(BrokerUser { user: 65_532, group: 65_532 })),
            ("alice", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(find(text, users), expected, "{text}");
        }
    }
}
