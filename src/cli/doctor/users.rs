//! Users and groups of this host by name, as far as its own files have them.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};

/// Without a directory service, whose users go by their numbers here.
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";
/// Whoever is in it owns half the machine.
const ROOT_GROUP: u32 = 0;

/// The user that this program runs as.
pub(super) fn user() -> String {
    name(USERS, geteuid().as_raw())
}

/// The user with the groups that count.
pub(super) fn user_with_groups() -> String {
    let groups: BTreeSet<_> = own_groups();
    let groups: Vec<_> = groups.into_iter().map(|gid| name(GROUPS, gid)).collect();
    format!("user {} in groups {}", user(), groups.join(", "))
}

/// Whose it is, and who may open it.
pub(super) fn owner(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let (user, group) = (name(USERS, metadata.uid()), name(GROUPS, metadata.gid()));
    Some(format!("owner {user}, group {group}, mode {:04o}", metadata.mode() & 0o7777))
}

/// The group that would let this user in, if one would.
pub(super) fn way_in(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let gid = metadata.gid();
    let opens = metadata.mode() & group_bit(&metadata) != 0;
    (opens && gid != ROOT_GROUP && !own_groups().contains(&gid)).then(|| name(GROUPS, gid))
}

/// To look into a directory, or to write to a socket.
fn group_bit(metadata: &Metadata) -> u32 {
    if metadata.is_dir() { 0o010 } else { 0o020 }
}

fn own_groups() -> BTreeSet<u32> {
    let more = getgroups().unwrap_or_default();
    more.into_iter().chain([getegid()]).map(rustix::process::Gid::as_raw).collect()
}

fn name(file: &str, id: u32) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let named = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| id.to_string())
}
