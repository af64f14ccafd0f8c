//! Tokens that were verified a moment ago: a build farm's callers send the same one again and again, and a signature costs more than
//! all the rest of a call.

use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::keys::KeyMark;
use crate::caller::TokenCaller;
use crate::moment::Moment;

/// How many are remembered, with what they claim.
const REMEMBERED: u64 = 4_096;
/// Whose claims are longer together is not.
const LARGEST: usize = 16 * 1024;
/// And for how long.
const LONGEST: Duration = Duration::from_mins(1);

/// Whom tokens are about, by a digest of each as a whole: another signature is another token.
#[derive(Debug)]
pub(super) struct Verified(Cache<[u8; 32], Remembered>);

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    pub(super) caller: Arc<TokenCaller>,
    /// Which of the issuers vouched for it, and by which key.
    pub(super) issuer: usize,
    pub(super) key: Arc<KeyMark>,
    until: Moment,
}

impl Verified {
    pub(super) fn new() -> Self {
        let cache = Cache::builder().max_capacity(REMEMBERED).eviction_policy(EvictionPolicy::lru());
        Self(cache.time_to_live(LONGEST).build())
    }

    pub(super) fn get(&self, token: &str, now: Moment) -> Option<Remembered> {
        self.0.get(&digest(token)).filter(|remembered| !now.until(remembered.until).is_zero())
    }

    /// For a minute, or as long as the token itself has left.
    pub(super) fn remember(
        &self,
        token: &str,
        caller: Arc<TokenCaller>,
        (issuer, key): (usize, Arc<KeyMark>),
        (now, left): (Moment, Duration),
    ) {
        if size(&caller) > LARGEST {
            return;
        }
        let until = now.after(left.min(LONGEST));
        self.0.insert(digest(token), Remembered { caller, issuer, key, until });
    }
}

/// Names of claims in objects repeat those of the objects, so that a small token can claim much.
fn size(caller: &TokenCaller) -> usize {
    caller.claims.iter().map(|(name, text)| name.len() + text.len()).sum()
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
