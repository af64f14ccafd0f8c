//! The file: sync's alone, or somebody's in which it keeps its entries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::entries::{Entries, Found};
use crate::helper::json_file::{self, Keep};
use crate::registry::Registry;

/// A file of logins.
pub(super) struct AuthFile {
    path: PathBuf,
    merge: bool,
    /// The hosts that were asked for by name.
    asked: BTreeSet<String>,
    /// Whose entries are ours to take away.
    ours: BTreeSet<String>,
}

impl AuthFile {
    /// With `merge`, what else is in it is somebody's, and stays.
    pub(super) fn new(path: PathBuf, asked: BTreeSet<String>, merge: bool) -> Self {
        Self { path, merge, asked, ours: BTreeSet::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What one who wrote it before has left behind of what is asked for. Where nothing is asked for by name, it is not known which entries those
    /// are in somebody's file, and all of them in one of sync's own.
    pub(super) fn find(&mut self) -> Result<Found, String> {
        let config = json_file::read(&self.path)?;
        let written = fs::metadata(&self.path).and_then(|metadata| metadata.modified());
        if !self.merge {
            self.check_own(&config)?;
        }
        let all = self.asked.is_empty() && !self.merge;
        let auths = config.get("auths").and_then(Value::as_object).into_iter().flatten();
        let auths = auths.filter(|(host, _)| all || self.asked.contains(*host));
        let auth = |(host, entry): (&String, &Value)| Some((host.clone(), entry.get("auth")?.as_str()?.to_owned()));
        let auths: BTreeMap<_, _> = auths.filter_map(auth).collect();
        self.ours.extend(auths.keys().cloned());
        Ok(Found { auths, written: written.unwrap_or(SystemTime::UNIX_EPOCH) })
    }

    /// Makes the entries those of the file. Whether that changed anything.
    pub(super) fn write(&mut self, entries: &Entries) -> Result<bool, String> {
        if entries.is_empty() && !self.path.exists() {
            // A file that is there says that the logins are.
            return Ok(false);
        }
        let logins: Map<_, _> = entries.iter().map(|(host, auth)| (host.clone(), json!({ "auth": auth }))).collect();
        let hosts: BTreeSet<_> = logins.keys().cloned().collect();
        let gone: Vec<_> = self.ours.difference(&hosts).cloned().collect();
        let changed = json_file::update(&self.path, Keep::Private, |config| {
            if !self.merge {
                self.check_own(config)?;
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
        self.ours.extend(hosts);
        Ok(changed)
    }

    /// Nothing of anybody else's is lost.
    fn check_own(&self, config: &Map<String, Value>) -> Result<(), String> {
        let is_ecrs = |host: &String| host.parse::<Registry>().is_ok();
        let own = config
            .iter()
            .all(|(key, value)| key == "auths" && value.as_object().is_some_and(|auths| auths.keys().all(is_ecrs)));
        if own {
            return Ok(());
        }
        Err(format!(
            "{} holds what sync did not write; give it a file of its own, or have it keep the rest with --merge",
            self.path.display()
        ))
    }
}
