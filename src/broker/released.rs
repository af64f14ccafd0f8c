//! A released credential.

use crate::cache::Found;
use crate::credential::{Credential, CredentialKey};
use crate::registry::{AccountId, Registry};

/// A credential and its registry. Only `release.rs` creates one, after the audit record is written.
#[derive(Debug, Clone)]
pub struct Released {
    /// The credential, and its status in the cache.
    pub found: Found,
    /// The key of the credential.
    pub key: CredentialKey,
    /// The registry's host, or the alias that was requested.
    pub host: String,
    /// The account of a private registry.
    pub account: Option<AccountId>,
}

/// Returns a private registry's account: the requested one, else the one that AWS named with the credential.
pub(super) fn account(registry: &Registry, credential: &Credential) -> Option<AccountId> {
    match registry {
        Registry::Private(private) => private.account().or_else(|| credential.account()),
        Registry::Public { .. } => None,
    }
}
