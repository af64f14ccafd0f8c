//! Cache of recently verified tokens.
//!
//! Callers of a build farm send the same token again and again, and verifying a signature costs more than the rest of a call.

use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::verified_token::VerifiedToken;
use crate::moment::Moment;

/// Maximum number of cached tokens.
const MAX_TOKENS: u64 = 4_096;
/// Longest time in the cache.
const MAX_TIME: Duration = Duration::from_mins(1);

/// Verified tokens by a digest of the whole token, signature included.
#[derive(Debug)]
pub(super) struct TokenCache(Cache<[u8; 32], Entry>);

#[derive(Debug, Clone)]
struct Entry {
    token: VerifiedToken,
    end: Moment,
}

impl TokenCache {
    pub(super) fn new() -> Self {
        let cache = Cache::builder().max_capacity(MAX_TOKENS).eviction_policy(EvictionPolicy::lru());
        Self(cache.time_to_live(MAX_TIME).build())
    }

    pub(super) fn get(&self, token: &str, now: Moment) -> Option<VerifiedToken> {
        let entry = self.0.get(&digest(token)).filter(|entry| !now.until(entry.end).is_zero());
        entry.map(|entry| entry.token)
    }

    /// Caches a token for a minute, or for `valid_for` if that is shorter.
    pub(super) fn insert(&self, token: &str, verified: &VerifiedToken, now: Moment, valid_for: Duration) {
        let end = now.after(valid_for.min(MAX_TIME));
        self.0.insert(digest(token), Entry { token: verified.clone(), end });
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
