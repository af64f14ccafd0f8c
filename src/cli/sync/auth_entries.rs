//! The entries that belong into the file, and their expiry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::client::{RegistryCredentials, remaining};
use crate::helper::registry_auth::basic;
use crate::moment::Moment;

/// Auth entries by host.
#[derive(Default)]
pub(super) struct AuthEntries(BTreeMap<String, AuthEntry>);

/// An entry of `auths`. It is a secret, and has no `Debug`.
pub(super) struct AuthEntry {
    pub(super) auth: String,
    /// The credential's ID; empty if an earlier sync wrote the entry.
    #[cfg_attr(not(feature = "kubernetes"), expect(dead_code, reason = "files have no place for it"))]
    pub(super) id: String,
    /// The profile that minted the credential, which decides its permissions; empty if an earlier sync wrote the entry.
    #[cfg_attr(not(feature = "kubernetes"), expect(dead_code, reason = "files have no place for it"))]
    pub(super) profile: String,
    expiry: Moment,
}

impl AuthEntry {
    /// Returns the expiry on the wall clock.
    pub(super) fn expiry(&self) -> SystemTime {
        self.expiry.wall
    }
}

impl AuthEntries {
    /// Adds a credential, or replaces the registry's older one.
    ///
    /// The clocks of this machine and the broker may differ. The entry lasts no longer than the broker says, and at least for
    /// the time that the broker gives from now.
    pub(super) fn insert(&mut self, credentials: &RegistryCredentials, now: Moment) {
        let at_least = credentials.refresh_after.and_then(|after| Duration::try_from(after).ok()).unwrap_or_default();
        let expiry = now.after(remaining(credentials, now.wall).max(at_least));
        let auth = basic(&credentials.username, &credentials.password);
        let (id, profile) = (credentials.credential_id.clone(), credentials.profile.clone());
        self.0.insert(credentials.registry.clone(), AuthEntry { auth, id, profile, expiry });
    }

    /// Adds the entry of an earlier sync.
    pub(super) fn restore(&mut self, host: String, auth: String, expiry: SystemTime, now: Moment) {
        let left = expiry.duration_since(now.wall).unwrap_or_default();
        let (id, profile) = (String::new(), String::new());
        self.0.insert(host, AuthEntry { auth, id, profile, expiry: now.after(left) });
    }

    /// Removes expired entries, and returns their hosts.
    pub(super) fn remove_expired(&mut self, now: Moment) -> BTreeSet<String> {
        let expired = self.0.extract_if(.., |_, entry| now.until(entry.expiry).is_zero());
        expired.map(|(host, _)| host).collect()
    }

    /// Returns the time until the next entry expires.
    pub(super) fn next_expiry(&self, now: Moment) -> Option<Duration> {
        self.0.values().map(|entry| now.until(entry.expiry)).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &AuthEntry)> {
        self.0.iter()
    }
}
