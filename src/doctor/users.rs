//! Users and groups of this host by name, as far as its own files have them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};

/// Without a directory service, whose users go by their numbers here.
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";
/// Whoever is in one of them comes by root's rights, or by its passwords.
const ROOT_GROUPS: [&str; 9] = ["root", "wheel", "sudo", "admin", "docker", "lxd", "disk", "kmem", "shadow"];
/// To look into a directory, and to write to a socket.
const SEARCH: u32 = 0o1;
const WRITE: u32 = 0o2;

/// How a user comes to be let in by a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WayIn {
    /// By this group, in which the user is not.
    Group(String),
    /// By the group of this number, in which a user is not whom this host knows by number alone.
    ByNumber(u32),
    /// By this group, in which the user is, and was not yet when it logged in.
    NextLogin(String),
    /// By this group, and with it to much else.
    OfRoot(String),
    /// It is, as far as the mode goes.
    Elsewhere,
    /// By none.
    None,
}

/// Whose a file is, and who may.
#[derive(Debug, Clone, Copy)]
struct Mode {
    uid: u32,
    gid: u32,
    bits: u32,
    /// What it takes.
    need: u32,
}

/// Who asks to be let in.
#[derive(Debug)]
struct Caller {
    uid: u32,
    groups: BTreeSet<u32>,
    /// Where this host knows it.
    name: Option<String>,
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
    let need = if metadata.is_dir() { SEARCH } else { WRITE };
    let mode = Mode { uid: metadata.uid(), gid: metadata.gid(), bits: metadata.mode(), need };
    let uid = geteuid().as_raw();
    let known = entry(USERS, uid).and_then(|fields| fields.into_iter().next());
    let caller = Caller { uid, groups: own_groups(), name: known };
    mode.way_in(&caller, name(GROUPS, mode.gid), &members(mode.gid))
}

impl Mode {
    /// `group`: the name of the file's, with its members.
    fn way_in(self, caller: &Caller, group: String, members: &[String]) -> WayIn {
        let allows = |class: u32| (self.bits >> class) & self.need != 0;
        let (is_owner, is_in) = (caller.uid == self.uid, caller.groups.contains(&self.gid));
        // The first that it belongs to decides, whatever the next may do.
        let class = if is_owner { 6 } else { u32::from(is_in) * 3 };
        if caller.uid == 0 || allows(class) {
            return WayIn::Elsewhere;
        }
        if is_owner || is_in || !allows(3) {
            return WayIn::None;
        }
        match &caller.name {
            Some(name) if members.contains(name) => WayIn::NextLogin(group),
            _ if self.gid == 0 || ROOT_GROUPS.contains(&&*group) => WayIn::OfRoot(group),
            Some(_) => WayIn::Group(group),
            None => WayIn::ByNumber(self.gid),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_in_is_named_that_leads_nowhere_or_too_far() {
        let ci =
            |groups: &[u32]| Caller { uid: 1002, groups: groups.iter().copied().collect(), name: Some("ci".into()) };
        let nameless = Caller { name: None, ..ci(&[1002]) };
        let (broker, docker) = (|| "ecr-broker".to_owned(), || "docker".to_owned());
        let mode = |uid, gid, bits| Mode { uid, gid, bits, need: WRITE };
        let socket = mode(999, 999, 0o660);
        let others = ["others".to_owned()];
        assert_eq!(socket.way_in(&ci(&[1002]), broker(), &others), WayIn::Group(broker()));
        assert_eq!(socket.way_in(&ci(&[1002]), broker(), &["ci".into()]), WayIn::NextLogin(broker()));
        assert_eq!(socket.way_in(&nameless, broker(), &others), WayIn::ByNumber(999));
        // In the group already, or let in by what everybody may.
        assert_eq!(socket.way_in(&ci(&[1002, 999]), broker(), &others), WayIn::Elsewhere);
        assert_eq!(mode(999, 999, 0o666).way_in(&ci(&[1002]), broker(), &others), WayIn::Elsewhere);
        assert_eq!(socket.way_in(&Caller { uid: 0, ..ci(&[0]) }, broker(), &others), WayIn::Elsewhere);
        for (gid, group) in [(0, "root".to_owned()), (0, "0".to_owned()), (990, docker())] {
            assert_eq!(mode(0, gid, 0o660).way_in(&ci(&[1002]), group.clone(), &others), WayIn::OfRoot(group.clone()));
            assert_eq!(mode(0, gid, 0o660).way_in(&nameless, group.clone(), &others), WayIn::OfRoot(group));
        }
        // The owner's own bits deny it, or the group's.
        assert_eq!(mode(1002, 999, 0o060).way_in(&ci(&[1002]), broker(), &others), WayIn::None);
        assert_eq!(mode(999, 999, 0o606).way_in(&ci(&[999]), broker(), &others), WayIn::None);
        let directory = Mode { need: SEARCH, ..mode(999, 999, 0o710) };
        assert_eq!(directory.way_in(&ci(&[1002]), broker(), &others), WayIn::Group(broker()));
    }
}
