//! What belongs into the file, and for how long.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::client::RegistryCredentials;
use crate::clock::Moment;
use crate::helper::basic;

/// No token of ECR's lasts longer, so what was in the file before ends by then.
const LONGEST_LIFE: Duration = Duration::from_hours(12);

/// Logins by host.
#[derive(Default)]
pub(super) struct Entries(BTreeMap<String, Entry>);

/// A login as such a file has it, which is a secret.
struct Entry {
    auth: String,
    end: Moment,
}

/// What a file had before.
pub(super) struct Found {
    pub(super) auths: BTreeMap<String, String>,
    pub(super) written: SystemTime,
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

    /// What was written by one who is no more, until when it may last.
    pub(super) fn take_over(&mut self, found: &Found, now: Moment) {
        let age = now.wall.duration_since(found.written).unwrap_or_default();
        let end = now.after(LONGEST_LIFE.saturating_sub(age));
        self.0.extend(found.auths.iter().map(|(host, auth)| (host.clone(), Entry { auth: auth.clone(), end })));
    }

    pub(super) fn drop_ended(&mut self, now: Moment) {
        self.0.retain(|_, entry| !now.until(entry.end).is_zero());
    }

    /// How long until the next one ends.
    pub(super) fn next_end(&self, now: Moment) -> Option<Duration> {
        self.0.values().map(|entry| now.until(entry.end)).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter().map(|(host, entry)| (host, &entry.auth))
    }
}
