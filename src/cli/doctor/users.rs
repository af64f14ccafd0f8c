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

/// How a user comes to be let in by a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WayIn {
    /// By this group, in which the user is not.
    Group(String),
    /// By this group, in which the user is, and was not yet when it logged in.
    NextLogin(String),
    /// By none.
    None,
}

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

/// How this user could be let in by its groups.
pub(super) fn way_in(path: &Path) -> WayIn {
    let Ok(metadata) = fs::metadata(path) else { return WayIn::None };
    let gid = metadata.gid();
    if metadata.mode() & group_bit(&metadata) == 0 || gid == ROOT_GROUP || own_groups().contains(&gid) {
        return WayIn::None;
    }
    let group = name(GROUPS, gid);
    if members(gid).contains(&user()) { WayIn::NextLogin(group) } else { WayIn::Group(group) }
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
    entry(file, id).and_then(|fields| fields.into_iter().next()).unwrap_or_else(|| id.to_string())
}

fn members(gid: u32) -> Vec<String> {
    let members = entry(GROUPS, gid).and_then(|fields| fields.into_iter().nth(3)).unwrap_or_default();
    members.split(',').map(str::to_owned).collect()
}

/// The line of a user or group, field by field.
fn entry(file: &str, id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').map(str::to_owned).collect();
        (fields.get(2)?.parse() == Ok(id)).then_some(fields)
    })
}
