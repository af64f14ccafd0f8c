//! The file: sync's alone, or somebody's in which it keeps its entries. Beside it stands what the file has no place for: which entries are sync's, and
//! when each ends.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::entries::{Entries, Entry};
use crate::json_file::{self, FileMode, sibling};
use crate::moment::Moment;
use crate::terminal::print_error;

/// What is locked, behind the file's name and a dot.
const LOCK: &str = "sync.lock";

/// A file of logins, which one sync keeps at a time.
pub(super) struct AuthFile {
    path: PathBuf,
    /// What is known of the entries.
    notes: PathBuf,
    merge: bool,
    /// The hosts that were asked for by name; none: all that the broker names.
    asked: BTreeSet<String>,
    /// Whose entries are ours to take away.
    ours: BTreeSet<String>,
    /// Locked for as long as this lasts.
    own: File,
}

impl AuthFile {
    /// With `merge`, what else is in it is somebody's, and stays.
    pub(super) fn take(path: PathBuf, asked: BTreeSet<String>, merge: bool) -> Result<Self, String> {
        let (own, notes) = (lock(&path)?, sibling(&path, "sync"));
        Ok(Self { path, notes, merge, asked, ours: BTreeSet::new(), own })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What one who wrote it before has left behind of what is asked for. Of what is not known to be sync's, it is not known how long it lasts.
    pub(super) fn find(&mut self, now: Moment) -> Result<Entries, String> {
        let notes = json_file::read(&self.notes).unwrap_or_else(|problem| {
            print_error(format_args!("{problem}; what is in the file is taken for somebody else's"));
            let _ = fs::remove_file(&self.notes);
            Map::new()
        });
        let config = json_file::read(&self.path)?;
        let mut entries = Entries::default();
        for (host, auth, known) in logins(&config, &notes) {
            let Some(end) = known else { continue };
            self.ours.insert(host.clone());
            if self.asked.is_empty() || self.asked.contains(host) {
                entries.take_over(host.clone(), auth.to_owned(), end, now);
            }
        }
        self.check_own(&config)?;
        Ok(entries)
    }

    /// Makes the entries those of the file. Whether that changed anything.
    pub(super) fn write(&mut self, entries: &Entries) -> Result<bool, String> {
        if entries.is_empty() && !self.path.exists() {
            // A file that is there says that the logins are.
            return Ok(false);
        }
        self.hold()?;
        check_owner(&self.path)?;
        let hosts: BTreeSet<_> = entries.iter().map(|(host, _)| host.clone()).collect();
        self.note(entries, &hosts)?;
        let logins = entries.iter().map(|(host, entry)| (host.clone(), json!({ "auth": entry.auth })));
        let changed = json_file::update(&self.path, FileMode::Private, |config| {
            self.check_own(config)?;
            if !self.merge {
                *config = Map::from_iter([("auths".to_owned(), Value::Object(logins.collect()))]);
                return Ok(());
            }
            let Value::Object(auths) = config.entry("auths").or_insert_with(|| json!({})) else {
                return Err(format!("{}: auths is no object", self.path.display()));
            };
            auths.retain(|host, _| hosts.contains(host) || !self.ours.contains(host));
            auths.extend(logins);
            Ok(())
        })?;
        self.ours = hosts;
        Ok(changed)
    }

    /// The directory may have been taken away, and the lock with it.
    fn hold(&mut self) -> Result<(), String> {
        let inode = |metadata: std::io::Result<fs::Metadata>| metadata.map(|metadata| metadata.ino()).ok();
        let there = inode(fs::metadata(sibling(&self.path, LOCK)));
        if there.is_none() || there != inode(self.own.metadata()) {
            self.own = lock(&self.path)?;
        }
        Ok(())
    }

    /// First, for an entry of which nothing is known would be nobody's. What is known of the one that is in the file still stays until the next time.
    fn note(&self, entries: &Entries, hosts: &BTreeSet<String>) -> Result<(), String> {
        let config = json_file::read(&self.path)?;
        json_file::update_unlocked(&self.notes, FileMode::Private, |notes| {
            notes.retain(|host, _| self.ours.contains(host) || hosts.contains(host));
            for (host, entry) in entries.iter() {
                let there = config.get("auths").and_then(|auths| auths.get(host)?.get("auth")?.as_str());
                let note = note(notes.get(host), entry, there);
                notes.insert(host.clone(), note);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Nothing of anybody else's is lost.
    fn check_own(&self, config: &Map<String, Value>) -> Result<(), String> {
        let is_ours =
            |auths: &Value| auths.as_object().is_some_and(|auths| auths.keys().all(|host| self.ours.contains(host)));
        if self.merge || config.iter().all(|(key, value)| key == "auths" && is_ours(value)) {
            return Ok(());
        }
        Err(format!(
            "{} holds what sync did not write; give it a file of its own, or have it keep the rest with --merge",
            self.path.display()
        ))
    }
}

/// The right to keep a file, for as long as what comes back is there.
fn lock(path: &Path) -> Result<File, String> {
    let problem = |error: std::io::Error| format!("{}: {error}", path.display());
    json_file::require_regular_file(path)?;
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(problem)?;
    check_owner(path)?;
    let own = File::options().create(true).append(true).mode(0o600).open(sibling(path, LOCK)).map_err(problem)?;
    match own.try_lock() {
        Ok(()) => Ok(own),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another sync keeps {}; one can keep all the registries there, or each has a file of its own",
            path.display()
        )),
        Err(TryLockError::Error(error)) => Err(problem(error)),
    }
}

/// The logins of a file, and of those that are known when they end.
fn logins<'a>(
    config: &'a Map<String, Value>,
    notes: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'a String, &'a str, Option<SystemTime>)> {
    let auths = config.get("auths").and_then(Value::as_object).into_iter().flatten();
    auths.filter_map(|(host, entry)| {
        let auth = entry.get("auth")?.as_str()?;
        Some((host, auth, notes.get(host).and_then(|notes| end(notes, auth))))
    })
}

/// What is kept of a host's login: which one it is, without giving it away, and its end, in seconds since 1970; and the same of the one that is in the
/// file, for whoever is killed has written this and not yet that.
fn note(known: Option<&Value>, entry: &Entry, there: Option<&str>) -> Value {
    let end = entry.end().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let new = json!({ "sha256": digest(&entry.auth), "end": end.as_secs() });
    let there = there.map(digest).filter(|there| new["sha256"] != **there);
    let known = known.and_then(Value::as_array).into_iter().flatten();
    let other = known.filter(|note| there.as_ref().is_some_and(|there| note["sha256"] == **there)).take(1).cloned();
    std::iter::once(new.clone()).chain(other).collect()
}

/// The end of this very login.
fn end(notes: &Value, auth: &str) -> Option<SystemTime> {
    let digest = digest(auth);
    let end = notes.as_array()?.iter().find(|note| note["sha256"] == *digest)?.get("end")?.as_u64()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end))
}

fn digest(auth: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(auth))
}

/// A file of somebody else's would give them what is written to it; root writes for the user whose directory it is in.
fn check_owner(path: &Path) -> Result<(), String> {
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(()) };
    let own = rustix::process::geteuid().as_raw();
    let directory = path.parent().and_then(|directory| fs::metadata(directory).ok());
    let is_shared = directory.as_ref().is_some_and(|directory| directory.mode() & 0o002 != 0);
    let for_its_user = own == 0 && directory.is_some_and(|directory| directory.uid() == file.uid()) && !is_shared;
    if file.uid() != own && !for_its_user {
        return Err(format!(
            "{} is user {}'s, who could read what is written to it; remove it",
            path.display(),
            file.uid()
        ));
    }
    if file.is_symlink() && is_shared {
        return Err(format!(
            "{} is a link in a directory that everybody can write to, who could lead it anywhere; remove it",
            path.display()
        ));
    }
    Ok(())
}
