//! A credential in a Secret, and its note in an annotation.
//!
//! The note has the credential's ID, profile and expiry, by which several syncs agree without electing a leader. Its hash, which does
//! not reveal the credential, shows whether others have changed the credential since.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::sync::auth_entries::AuthEntry;
use crate::cli::sync::expiry_notes::digest;

/// A credential in a Secret. It has no `Debug`.
pub(super) struct Held {
    /// The `auth` of docker's files.
    pub(super) auth: Zeroizing<String>,
    pub(super) id: String,
    /// The profile that minted it.
    pub(super) profile: String,
    /// The expiry, in seconds since 1970.
    pub(super) end: u64,
}

impl Held {
    pub(super) fn new(entry: &AuthEntry, end: u64) -> Self {
        let (id, profile) = (entry.id.clone(), entry.profile.clone());
        Self { auth: Zeroizing::new(entry.auth.clone()), id, profile, end }
    }

    /// Returns the credential of a note; `None` if the note is of another one.
    pub(super) fn noted(auth: Zeroizing<String>, note: &Value) -> Option<Self> {
        let is_same = note["sha256"] == *digest(&auth);
        let text = |name: &str| note[name].as_str().map(str::to_owned);
        let (id, profile, end) = (text("id")?, text("profile").unwrap_or_default(), note["end"].as_u64()?);
        is_same.then_some(Self { auth, id, profile, end })
    }

    /// Returns whether a stored credential is this one, or one that another sync wrote and that lasts as long: of two syncs with
    /// credentials of one end, neither replaces the other's. One of another profile is neither: this sync may have been given a narrower
    /// one.
    pub(super) fn may_leave(&self, stored: &Self) -> bool {
        stored.id == self.id || stored.end >= self.end && stored.profile == self.profile
    }

    pub(super) fn note(&self) -> Value {
        json!({ "id": self.id, "profile": self.profile, "end": self.end, "sha256": digest(&self.auth) })
    }

    pub(super) fn end(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.end)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
