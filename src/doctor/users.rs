//! Users and groups of this host by name, from its own files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};

/// File with the users of this host. It does not list the users of a directory service, so doctor prints their numbers.
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// Returns the name of this user, or its number.
pub(super) fn user() -> String {
    let uid = geteuid().as_raw();
    user_name(uid).unwrap_or_else(|| uid.to_string())
}

/// Returns this user with its effective and supplementary groups.
pub(super) fn user_with_groups() -> String {
    let groups: Vec<_> = group_ids().into_iter().map(group_name).collect();
    format!("user {} in groups {}", user(), groups.join(", "))
}

/// Returns owner, group and mode of a file.
pub(super) fn owner(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let (uid, group) = (metadata.uid(), group_name(metadata.gid()));
    let user = user_name(uid).unwrap_or_else(|| uid.to_string());
    Some(format!("owner {user}, group {group}, mode {:04o}", metadata.mode() & 0o7777))
}

/// Returns the name of a user that this host's files list.
pub(super) fn user_name(uid: u32) -> Option<String> {
    entry(USERS, uid)?.into_iter().next()
}

/// Returns the name of a group, or its number.
pub(super) fn group_name(gid: u32) -> String {
    entry(GROUPS, gid).and_then(|fields| fields.into_iter().next()).unwrap_or_else(|| gid.to_string())
}

/// Returns the users that the group file lists as members.
pub(super) fn members(gid: u32) -> Vec<String> {
    let members = entry(GROUPS, gid).and_then(|fields| fields.into_iter().nth(3)).unwrap_or_default();
    members.split(',').map(str::to_owned).collect()
}

/// Returns the effective and supplementary groups of this process.
pub(super) fn group_ids() -> BTreeSet<u32> {
    let supplementary = getgroups().unwrap_or_default();
    supplementary.into_iter().chain([getegid()]).map(rustix::process::Gid::as_raw).collect()
}

/// Returns the fields of the line of a user or group.
fn entry(file: &str, id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').map(str::to_owned).collect();
        (fields.get(2)?.parse() == Ok(id)).then_some(fields)
    })
}
