//! Updates that a source pushes: a parent broker refreshes a credential, and its watch brings the result before a caller asks.

use super::SourceFuture;
use crate::credential::{Credential, CredentialId, CredentialKey};
use crate::error::BrokerError;
use crate::metrics::labels;

/// An update of one key.
#[derive(Debug)]
pub enum Pushed {
    /// The source's credential.
    Credential(Credential),
    /// The credential with this ID is still the source's.
    Unchanged(CredentialId),
    /// The source's refresh failed, or the source denies the key.
    Failed(BrokerError),
}

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// The outcome.
    pub outcome: Outcome,
    /// Answers with the key's credentials so far; zero if none is cached.
    pub uses: u64,
}

labels! {
    /// What became of an update.
    pub enum Outcome: "outcome" {
        /// The pushed credential replaced the cached one.
        Replaced = "replaced",
        /// The cached credential is the source's, too.
        Confirmed = "confirmed",
        /// The cached credential stays: the pushed one ends sooner, was rejected before, or says nothing about it.
        Ignored = "ignored",
        /// The cached credential is STALE: the source's refresh failed.
        Stale = "stale",
        /// The cached credential was dropped: the source denies it.
        Dropped = "dropped",
        /// No credential is cached for the key.
        Absent = "absent",
    }
}

/// Takes the updates: the cache.
pub trait PushSink: Send + Sync {
    /// Takes an update of a key. Makes no call.
    fn adopt<'a>(&'a self, key: &'a CredentialKey, pushed: Pushed) -> SourceFuture<'a, Adopted>;
}
