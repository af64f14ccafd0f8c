//! The notes of a host: the expiry of its entry, and of the one before it.
//!
//! A note identifies its entry by a hash, which does not reveal the credential. A sync may be killed after its notes and before
//! the file: so the notes keep the entry that is still in the file too.

use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::auth_entries::AuthEntry;

/// Returns the notes for a new entry, with the known note of the entry that is in the file.
pub(super) fn note(known: Option<&Value>, entry: &AuthEntry, in_file: Option<&str>) -> Value {
    let expiry = entry.expiry().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let new = json!({ "sha256": digest(&entry.auth), "end": expiry.as_secs() });
    let in_file = in_file.map(digest).filter(|in_file| new["sha256"] != **in_file);
    let known = known.and_then(Value::as_array).into_iter().flatten();
    let old = known.filter(|note| in_file.as_ref().is_some_and(|in_file| note["sha256"] == **in_file)).take(1).cloned();
    std::iter::once(new.clone()).chain(old).collect()
}

/// Returns the expiry that the notes have for this very credential.
pub(super) fn expiry(notes: &Value, auth: &str) -> Option<SystemTime> {
    let digest = digest(auth);
    let end = notes.as_array()?.iter().find(|note| note["sha256"] == *digest)?.get("end")?.as_u64()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end))
}

/// Returns the hash of a credential.
pub(super) fn digest(auth: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(auth))
}
