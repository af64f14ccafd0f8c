//! What belongs into the file, and for how long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::client::RegistryCredentials;
use crate::helper::registry_auth::basic;
use crate::moment::Moment;

/// Logins by host.
#[derive(Default)]
pub(super) struct Entries(BTreeMap<String, Entry>);

/// A login as such a file has it, which is a secret.
pub(super) struct Entry {
    pub(super) auth: String,
    end: Moment,
}

impl Entry {
    /// When it ends, by the clock on the wall.
    pub(super) fn end(&self) -> SystemTime {
        self.end.wall
    }
}

impl Entries {
    /// In the place of what the registry had before.
    pub(super) fn put(&mut self, credentials: &RegistryCredentials, now: Moment) {
        let time = |timestamp: Option<prost_types::Timestamp>| SystemTime::try_from(timestamp?).ok();
        let (issued, expires) = (time(credentials.issue_time), time(credentials.expire_time));
        let left = expires.and_then(|expires| expires.duration_since(now.wall).ok()).unwrap_or_default();
        let whole = expires.zip(issued).and_then(|(expires, issued)| expires.duration_since(issued).ok());
        // This machine's clock and the broker's may differ; so long it lasts by any.
        let at_least = credentials.refresh_after.and_then(|after| Duration::try_from(after).ok()).unwrap_or_default();
        let end = now.after(left.min(whole.unwrap_or_default()).max(at_least));
        let auth = basic(&credentials.username, &credentials.password);
        self.0.insert(credentials.registry.clone(), Entry { auth, end });
    }

    /// What was put before by one who is no more.
    pub(super) fn take_over(&mut self, host: String, auth: String, end: SystemTime, now: Moment) {
        let left = end.duration_since(now.wall).unwrap_or_default();
        self.0.insert(host, Entry { auth, end: now.after(left) });
    }

    /// Drops what has ended; the hosts that this was of.
    pub(super) fn drop_ended(&mut self, now: Moment) -> BTreeSet<String> {
        let ended = self.0.extract_if(.., |_, entry| now.until(entry.end).is_zero());
        ended.map(|(host, _)| host).collect()
    }

    /// How long until the next one ends.
    pub(super) fn next_end(&self, now: Moment) -> Option<Duration> {
        self.0.values().map(|entry| now.until(entry.end)).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.0.iter()
    }
}
