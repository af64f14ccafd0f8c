//! The current token of an identity, and which fetches it serves.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use moka::Expiry;

use crate::clock::Clock;
use crate::credential::{Credential, CredentialKey};
use crate::moment::Moment;
use crate::registry::AccountId;
use crate::source::FetchRequest;
use crate::sync::lock;

/// Age below which a token is new for every account, even if AWS returned the same as before. Otherwise each account's refresh would
/// call AWS.
const NEW: Duration = Duration::from_millis(500);

/// Maximum number of accounts whose rejections a token remembers.
const MAX_REJECTING: usize = 10_000;

/// A token, and the accounts whose registries rejected it.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) credential: Credential,
    rejected_by: Mutex<HashSet<Option<AccountId>>>,
}

/// What a fetch needs.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) request: &'a FetchRequest,
    /// The account; `None`: the identity's own.
    pub(super) account: Option<AccountId>,
}

impl Token {
    pub(super) fn new(credential: Credential) -> Self {
        Self { credential, rejected_by: Mutex::default() }
    }

    /// Returns whether the token serves a fetch: it lasts long enough, the account's registry did not reject it, and it is newer than
    /// the credential whose refresh is due.
    pub(super) fn serves(&self, wanted: &Wanted<'_>, now: Moment) -> bool {
        let FetchRequest { min_validity, replaces, .. } = wanted.request;
        let remaining = self.credential.remaining(now);
        let is_replaced = replaces.as_ref().is_some_and(|replaced| replaced.id() == self.credential.id());
        let is_due = is_replaced && now.since(self.credential.received()) >= NEW;
        remaining >= *min_validity && !remaining.is_zero() && !is_due && !self.is_rejected_by(wanted)
    }

    /// Returns whether the registry of the account rejected the token, and remembers it: the account does not get it again.
    pub(super) fn is_rejected_by(&self, wanted: &Wanted<'_>) -> bool {
        let is_rejected = wanted.request.rejected == Some(self.credential.id());
        let mut rejected_by = lock(&self.rejected_by);
        if is_rejected && rejected_by.len() < MAX_REJECTING {
            rejected_by.insert(wanted.account);
        }
        is_rejected || rejected_by.contains(&wanted.account)
    }
}

/// Evicts a token from memory when it expires.
pub(super) struct UntilExpiry(pub(super) Arc<dyn Clock>);

impl Expiry<CredentialKey, Arc<Token>> for UntilExpiry {
    fn expire_after_create(&self, _: &CredentialKey, token: &Arc<Token>, _: Instant) -> Option<Duration> {
        Some(token.credential.remaining(self.0.now()))
    }

    fn expire_after_update(
        &self,
        _: &CredentialKey,
        token: &Arc<Token>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(token.credential.remaining(self.0.now()))
    }
}
