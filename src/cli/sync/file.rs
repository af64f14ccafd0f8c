//! The file: sync's alone, or somebody's in which it keeps its entries. Beside it stands what the file has no place for: which entries are sync's, and
//! when each ends.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::entries::{Entries, Entry};
use crate::clock::Moment;
use crate::helper::json_file::{self, Keep};

/// How every login of ECR's begins, for its user is AWS.
const OWN: &str = "QVdTO";

/// A file of logins.
pub(super) struct AuthFile {
    path: PathBuf,
    /// What is known of the entries.
    notes: PathBuf,
    merge: bool,
    /// The hosts that were asked for by name; none: all that the broker names.
    asked: BTreeSet<String>,
    /// Whose entries are ours to take away.
    ours: BTreeSet<String>,
}

impl AuthFile {
    /// With `merge`, what else is in it is somebody's, and stays.
    pub(super) fn new(path: PathBuf, asked: BTreeSet<String>, merge: bool) -> Self {
        let mut notes = path.clone().into_os_string();
        notes.push(".sync");
        Self { path, notes: notes.into(), merge, asked, ours: BTreeSet::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What one who wrote it before has left behind of what is asked for. Of what is not known to be sync's, it is not known how long it lasts.
    pub(super) fn find(&mut self, now: Moment) -> Result<Entries, String> {
        self.check_place()?;
        let config = json_file::read(&self.path)?;
        self.check_own(&config)?;
        let notes = json_file::read(&self.notes)?;
        let mut entries = Entries::default();
        for (host, entry) in config.get("auths").and_then(Value::as_object).into_iter().flatten() {
            let auth = entry.get("auth").and_then(Value::as_str);
            let Some((auth, end)) = auth.and_then(|auth| Some((auth, end(notes.get(host)?, auth)?))) else { continue };
            self.ours.insert(host.clone());
            if self.asked.is_empty() || self.asked.contains(host) {
                entries.take_over(host.clone(), auth.to_owned(), end, now);
            }
        }
        Ok(entries)
    }

    /// Makes the entries those of the file. Whether that changed anything.
    pub(super) fn write(&mut self, entries: &Entries) -> Result<bool, String> {
        if entries.is_empty() && !self.path.exists() {
            // A file that is there says that the logins are.
            return Ok(false);
        }
        let logins: Map<_, _> =
            entries.iter().map(|(host, entry)| (host.clone(), json!({ "auth": entry.auth }))).collect();
        let hosts: BTreeSet<_> = logins.keys().cloned().collect();
        let gone: Vec<_> = self.ours.difference(&hosts).cloned().collect();
        // First, for an entry of which nothing is known would be nobody's.
        json_file::update(&self.notes, Keep::Private, |notes| {
            notes.retain(|host, _| self.ours.contains(host) || hosts.contains(host));
            for (host, entry) in entries.iter() {
                let note = note(notes.get(host), entry);
                notes.insert(host.clone(), note);
            }
            Ok(())
        })?;
        let changed = json_file::update(&self.path, Keep::Private, |config| {
            self.check_own(config)?;
            if !self.merge {
                *config = Map::from_iter([("auths".to_owned(), Value::Object(logins))]);
                return Ok(());
            }
            let Value::Object(auths) = config.entry("auths").or_insert_with(|| json!({})) else {
                return Err(format!("{}: auths is no object", self.path.display()));
            };
            auths.retain(|host, _| !gone.contains(host));
            auths.extend(logins);
            Ok(())
        })?;
        self.ours = hosts;
        Ok(changed)
    }

    /// Nobody else may put something in the file's place.
    fn check_place(&self) -> Result<(), String> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("/"));
        let open = fs::metadata(directory).is_ok_and(|directory| directory.mode() & 0o002 != 0);
        if open {
            return Err(format!(
                "{} can be written by everybody, and is no place for a file of logins; give it a directory of its own",
                directory.display()
            ));
        }
        Ok(())
    }

    /// Nothing of anybody else's is lost.
    fn check_own(&self, config: &Map<String, Value>) -> Result<(), String> {
        let is_own = |entry: &Value| {
            let entry = entry.as_object().filter(|entry| entry.len() == 1).and_then(|entry| entry.get("auth"));
            entry.and_then(Value::as_str).is_some_and(|auth| auth.starts_with(OWN))
        };
        let is_list = |auths: &Value| auths.as_object().is_some_and(|auths| auths.values().all(is_own));
        if self.merge || config.iter().all(|(key, value)| key == "auths" && is_list(value)) {
            return Ok(());
        }
        Err(format!(
            "{} holds what sync did not write; give it a file of its own, or have it keep the rest with --merge",
            self.path.display()
        ))
    }
}

/// What is kept of a host's login: which one it is, without giving it away, and its end, in seconds since 1970. The one before stays until the next:
/// whoever is killed has written this and not yet the file.
fn note(known: Option<&Value>, entry: &Entry) -> Value {
    let known: Vec<_> = known.and_then(Value::as_array).into_iter().flatten().cloned().collect();
    let end = entry.end().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let new = json!({ "sha256": digest(&entry.auth), "end": end.as_secs() });
    let others = known.into_iter().filter(|one| one.get("sha256") != new.get("sha256")).take(1);
    std::iter::once(new.clone()).chain(others).collect()
}

/// The end of this very login.
fn end(notes: &Value, auth: &str) -> Option<SystemTime> {
    let digest = digest(auth);
    let is_its = |note: &&Value| note.get("sha256").and_then(Value::as_str) == Some(&digest);
    let end = notes.as_array()?.iter().find(is_its)?.get("end")?.as_u64()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end))
}

fn digest(auth: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(auth))
}
