//! Caches of recently verified tokens.
//!
//! Callers of a build farm send the same token again and again, and verifying a signature costs more than the rest of a call. Each
//! issuer has a share of the memory: however many tokens one issuer signs, those of the others stay. Only accepted tokens are kept, so
//! that forged ones push out none.

use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::verified_token::VerifiedToken;
use crate::moment::Moment;

/// Memory of the cached tokens of all issuers: about 16,000 tokens with a few claims.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Memory that a cached token takes beside the texts of its caller.
const TOKEN_BYTES: usize = 448;
/// Longest time in the cache.
const MAX_TIME: Duration = Duration::from_mins(1);

/// Verified tokens by the ID of their issuer, and by a digest of the whole token, signature included.
#[derive(Debug)]
pub(super) struct TokenCaches(Vec<(usize, Cache<[u8; 32], Entry>)>);

#[derive(Debug, Clone)]
struct Entry {
    token: VerifiedToken,
    end: Moment,
}

impl TokenCaches {
    /// Returns the caches of the issuers with these IDs.
    pub(super) fn new(issuers: impl ExactSizeIterator<Item = usize>) -> Self {
        let share = MAX_BYTES / u64::try_from(issuers.len().max(1)).unwrap_or(u64::MAX);
        Self(issuers.map(|issuer| (issuer, cache(share))).collect())
    }

    pub(super) fn get(&self, token: &str, now: Moment) -> Option<VerifiedToken> {
        let digest = digest(token);
        let entry = self.0.iter().find_map(|(_, cache)| cache.get(&digest));
        entry.filter(|entry| !now.until(entry.end).is_zero()).map(|entry| entry.token)
    }

    /// Caches a token for a minute, or for `valid_for` if that is shorter.
    pub(super) fn insert(&self, token: &str, verified: &VerifiedToken, now: Moment, valid_for: Duration) {
        let end = now.after(valid_for.min(MAX_TIME));
        if let Some((_, cache)) = self.0.iter().find(|(issuer, _)| *issuer == verified.issuer) {
            cache.insert(digest(token), Entry { token: verified.clone(), end });
        }
    }
}

fn cache(bytes: u64) -> Cache<[u8; 32], Entry> {
    let size =
        |_: &[u8; 32], entry: &Entry| u32::try_from(TOKEN_BYTES + entry.token.caller.bytes()).unwrap_or(u32::MAX);
    let cache = Cache::builder().max_capacity(bytes).weigher(size).eviction_policy(EvictionPolicy::lru());
    cache.time_to_live(MAX_TIME).build()
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::super::key::KeyFingerprint;
    use super::*;
    use crate::caller::{ClaimNames, ClaimsDigest, TokenCaller};
    use crate::clock::{Clock as _, SystemClock};

    fn verified(issuer: usize, subject: &str) -> VerifiedToken {
        let caller = TokenCaller {
            issuer: format!("issuer-{issuer}"),
            issuer_id: Some(issuer),
            subject: subject.to_owned(),
            claims: BTreeMap::new(),
            kept: ClaimNames::every(),
            digest: ClaimsDigest::default(),
            expires: None,
        };
        VerifiedToken { caller: Arc::new(caller), issuer, key: Arc::new(KeyFingerprint::of_test("k1")) }
    }

    #[test]
    fn issuer_with_any_number_of_tokens_pushes_out_none_of_another() {
        let (caches, now) = (TokenCaches::new(0..2), SystemClock::new().now());
        let (one, long) = (Duration::from_mins(5), "s".repeat(512));
        caches.insert("of 0", &verified(0, "ci"), now, one);
        let many = 20_000;
        for number in 0..many {
            caches.insert(&format!("of 1: {number}"), &verified(1, &long), now, one);
        }
        caches.0.iter().for_each(|(_, cache)| cache.run_pending_tasks());
        assert!(caches.get("of 0", now).is_some());
        assert!(caches.get(&format!("of 1: {}", many - 1), now).is_some(), "the last ones are kept");
        assert!(caches.get("of 1: 0", now).is_none());
        assert!(caches.0.iter().all(|(_, cache)| cache.weighted_size() <= MAX_BYTES / 2));
    }
}
