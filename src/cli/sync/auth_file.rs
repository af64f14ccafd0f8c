//! The credential file, and a file of notes beside it that records which entries sync wrote.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::auth_entries::AuthEntries;
use super::expiry_notes;
use super::file_lock::FileLock;
use crate::json_file::{self, FileMode, Target};
use crate::moment::Moment;
use crate::terminal::print_error;

/// Suffix of the notes' file. Changing it would lose the notes of a running installation.
const NOTES: &str = "sync";

/// A credential file, locked against other `sync` processes.
pub(super) struct AuthFile {
    /// The path as the user named it, which may be a link.
    path: PathBuf,
    /// Whether to keep content that sync did not write (`--merge`). If not, such content is an error.
    merge: bool,
    /// Requested hosts; empty: all registries that the caller's grants name.
    requested: BTreeSet<String>,
    /// Hosts whose entries sync wrote, and may remove.
    owned: BTreeSet<String>,
    lock: FileLock,
}

/// The result of a write.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Whether the file changed.
    pub(super) changed: bool,
    /// Hosts whose entries are not sync's, and stayed.
    pub(super) foreign: BTreeSet<String>,
}

impl AuthFile {
    /// Locks the file for the lifetime of the result.
    pub(super) fn open(path: PathBuf, requested: BTreeSet<String>, merge: bool) -> Result<Self, String> {
        let lock = FileLock::acquire(&path)?;
        Ok(Self { path, merge, requested, owned: BTreeSet::new(), lock })
    }

    /// Returns the file with the expiry of sync's entries. The credential file's format has no field for it.
    fn notes(&self) -> Target {
        self.lock.target().companion(NOTES)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the requested entries that an earlier sync wrote. The expiry of other entries is not known.
    pub(super) fn load(&mut self, now: Moment) -> Result<AuthEntries, String> {
        let notes = json_file::read_target(&self.notes()).unwrap_or_else(|problem| {
            print_error(format_args!("{problem}; sync treats the file's entries as not its own"));
            let _ = self.notes().remove();
            Map::new()
        });
        let config = json_file::read_target(self.lock.target())?;
        let mut entries = AuthEntries::default();
        for (host, auth) in auths(&config) {
            let Some(expiry) = notes.get(host).and_then(|notes| expiry_notes::expiry(notes, auth)) else { continue };
            self.owned.insert(host.clone());
            if self.requested.is_empty() || self.requested.contains(host) {
                entries.restore(host.clone(), auth.to_owned(), expiry, now);
            }
        }
        self.check_content(&config)?;
        Ok(entries)
    }

    /// Replaces sync's entries in the file, and keeps all others: an entry of another program may be a login that cannot be had again.
    pub(super) fn write(&mut self, entries: &AuthEntries) -> Result<Written, String> {
        // Readers wait for the file to appear and then expect its entries, so never create it empty.
        if entries.is_empty() && !self.path.exists() {
            return Ok(Written::default());
        }
        self.lock.ensure_held(&self.path)?;
        let mut hosts: BTreeSet<_> = entries.iter().map(|(host, _)| host.clone()).collect();
        // Write the notes before the entries: sync never removes an entry without a note.
        let notes = self.write_notes(entries, &hosts)?;
        let mut foreign = BTreeSet::new();
        let changed = json_file::update_target(self.lock.target(), FileMode::Private, |config| {
            self.check_content(config)?;
            foreign = self.replace_entries(config, entries, &notes)?;
            Ok(())
        })?;
        hosts.retain(|host| !foreign.contains(host));
        self.owned = hosts;
        Ok(Written { changed, foreign })
    }

    /// Returns the hosts whose entries are not sync's, and stay.
    fn replace_entries(
        &self,
        config: &mut Map<String, Value>,
        entries: &AuthEntries,
        notes: &Map<String, Value>,
    ) -> Result<BTreeSet<String>, String> {
        let new: Map<_, _> =
            entries.iter().map(|(host, entry)| (host.clone(), json!({ "auth": entry.auth }))).collect();
        if !self.merge {
            *config = Map::from_iter([("auths".to_owned(), Value::Object(new))]);
            return Ok(BTreeSet::new());
        }
        let auths = json_file::object_mut(config, "auths", &self.path)?;
        auths.retain(|host, entry| new.contains_key(host) || !is_noted(notes, host, entry));
        let is_foreign =
            |host: &String| auths.get(host).is_some_and(|entry| is_login(entry) && !is_noted(notes, host, entry));
        let foreign: BTreeSet<_> = new.keys().filter(|host| is_foreign(host)).cloned().collect();
        auths.extend(new.into_iter().filter(|(host, _)| !foreign.contains(host)));
        Ok(foreign)
    }

    /// Notes the expiry of the new entries, and returns all notes. Keeps those of the entries that the file still has until the next
    /// write.
    fn write_notes(&self, entries: &AuthEntries, hosts: &BTreeSet<String>) -> Result<Map<String, Value>, String> {
        let config = json_file::read_target(self.lock.target())?;
        let mut written = Map::new();
        json_file::update_unlocked(&self.notes(), FileMode::Private, |notes| {
            notes.retain(|host, _| self.owned.contains(host) || hosts.contains(host));
            for (host, entry) in entries.iter() {
                let in_file = config.get("auths").and_then(|auths| auths.get(host)?.get("auth")?.as_str());
                let note = expiry_notes::note(notes.get(host), entry, in_file);
                notes.insert(host.clone(), note);
            }
            written.clone_from(notes);
            Ok(())
        })?;
        Ok(written)
    }

    /// Rejects a file with content that sync did not write, unless `--merge` keeps that content.
    fn check_content(&self, config: &Map<String, Value>) -> Result<(), String> {
        let is_owned =
            |auths: &Value| auths.as_object().is_some_and(|auths| auths.keys().all(|host| self.owned.contains(host)));
        if self.merge || config.iter().all(|(key, value)| value.is_null() || key == "auths" && is_owned(value)) {
            return Ok(());
        }
        Err(format!(
            "{}: the file has content that sync did not write; name another file, or keep the content with --merge",
            self.path.display()
        ))
    }
}

/// Returns whether an entry is one that sync wrote.
fn is_noted(notes: &Map<String, Value>, host: &str, entry: &Value) -> bool {
    let auth = entry.get("auth").and_then(Value::as_str);
    auth.zip(notes.get(host)).is_some_and(|(auth, notes)| expiry_notes::expiry(notes, auth).is_some())
}

/// Returns whether an entry says anything. docker leaves an empty one where a credential helper keeps the login.
fn is_login(entry: &Value) -> bool {
    entry.as_object().is_none_or(|entry| !entry.is_empty()) && !entry.is_null()
}

/// Returns the hosts of a credential file with their encoded credentials.
fn auths(config: &Map<String, Value>) -> impl Iterator<Item = (&String, &str)> {
    let auths = config.get("auths").and_then(Value::as_object).into_iter().flatten();
    auths.filter_map(|(host, entry)| Some((host, entry.get("auth")?.as_str()?)))
}
