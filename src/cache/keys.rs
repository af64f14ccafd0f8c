//! Queries of the cache's keys: cached credentials and failing fetches.
//!
//! A query takes no lock that a lookup needs, and lets other tasks run between batches: moka copies the keys of one part after the
//! other. It keeps only as many rows as its page and those before it have.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::CredentialCache;
use super::entry::Entry;
use super::key_status::{CachedTimes, KeyFailure, KeyFilter, KeyOrder, KeyQuery, KeyStatus, KeysStatus};
use crate::credential::CredentialKey;
use crate::moment::Moment;
use crate::registry::{AccountId, Region};

/// Keys that a query looks at before it lets other tasks run.
const BATCH: usize = 256;

/// A key that meets the filter.
#[derive(Debug)]
struct Row {
    rank: u64,
    key: Arc<CredentialKey>,
    entry: Option<Arc<Entry>>,
    failure: Option<KeyFailure>,
}

/// The first rows in the order of their ranks.
#[derive(Debug)]
struct FirstRows {
    keep: usize,
    rows: Vec<Row>,
    matching: usize,
}

impl CredentialCache {
    /// Returns the state of the keys that `query` asks for.
    pub async fn keys(&self, query: &KeyQuery) -> KeysStatus {
        let (now, store) = (self.shared.now(), &self.shared.store);
        let mut failures: HashMap<_, _> = self.shared.backoff.failures(now).collect();
        let (failing, mut shortest) = (failures.len(), None::<Duration>);
        let backoffs = backoffs(&failures);
        let mut first = FirstRows::new(query.skip.saturating_add(query.limit));
        for (index, (key, entry)) in store.iter().enumerate() {
            if index % BATCH == BATCH - 1 {
                tokio::task::yield_now().await;
            }
            let remaining = entry.credential.remaining(now);
            if !remaining.is_zero() {
                shortest = Some(shortest.map_or(remaining, |shortest| shortest.min(remaining)));
                let failure = failures.remove(&key);
                first.add(query, now, Row { rank: 0, key, entry: Some(entry), failure });
            }
        }
        for (key, failure) in failures {
            first.add(query, now, Row { rank: 0, key, entry: None, failure: Some(failure) });
        }
        let FirstRows { rows, matching, .. } = first.sorted();
        let keys = rows.iter().skip(query.skip).map(|row| row.status(now)).collect();
        let (cached, capacity) = (store.index.len(), self.shared.settings.capacity);
        KeysStatus { keys, matching, cached, shortest, failing, backoffs, capacity }
    }
}

/// Counts the keys of each region that are not fetched before their failure backoff ends.
fn backoffs(failures: &HashMap<Arc<CredentialKey>, KeyFailure>) -> BTreeMap<Option<Region>, usize> {
    let waiting = failures.iter().filter(|(_, failure)| !failure.retry_in.is_zero());
    let mut backoffs = BTreeMap::new();
    for (key, _) in waiting {
        *backoffs.entry(key.registry.region().cloned()).or_default() += 1;
    }
    backoffs
}

impl KeyFilter {
    fn includes(&self, row: &Row) -> bool {
        let CredentialKey { registry, profile, .. } = &*row.key;
        self.account.is_none_or(|account| row.account() == Some(account))
            && self.region.as_ref().is_none_or(|region| registry.region() == Some(region))
            && self.profile.as_ref().is_none_or(|own| own == profile)
            && (!self.failing || row.failure.is_some())
    }
}

impl KeyOrder {
    /// Returns the place of a row: lower ones come first.
    fn rank(self, row: &Row, now: Moment) -> u64 {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        match self {
            Self::Expiry => row.entry.as_ref().map_or(0, |entry| millis(entry.credential.remaining(now))),
            Self::Registry => 0,
            Self::Hits => u64::MAX - row.entry.as_ref().map_or(0, |entry| entry.uses.hits()),
            Self::Failure => row.failure.map_or(u64::MAX, |failure| millis(failure.age)),
        }
    }
}

impl FirstRows {
    fn new(keep: usize) -> Self {
        Self { keep, rows: Vec::new(), matching: 0 }
    }

    fn add(&mut self, query: &KeyQuery, now: Moment, mut row: Row) {
        if !query.filter.includes(&row) {
            return;
        }
        self.matching += 1;
        row.rank = query.order.rank(&row, now);
        self.rows.push(row);
        if self.rows.len() >= self.keep.saturating_mul(2).max(BATCH) {
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.rows.sort_unstable_by(|one, other| (one.rank, &one.key).cmp(&(other.rank, &other.key)));
        self.rows.truncate(self.keep);
    }

    fn sorted(mut self) -> Self {
        self.sort();
        self
    }
}

impl Row {
    fn account(&self) -> Option<AccountId> {
        self.key.registry.account().or_else(|| self.entry.as_ref()?.credential.account())
    }

    fn status(&self, now: Moment) -> KeyStatus {
        KeyStatus {
            registry: self.key.registry.clone(),
            account: self.account(),
            profile: self.key.profile.clone(),
            of_one_caller: self.key.caller.is_some(),
            cached: self.entry.as_ref().map(|entry| entry.times(now)),
            failure: self.failure,
            source: self.entry.as_ref().map(|entry| entry.credential.source().clone()),
        }
    }
}

impl Entry {
    fn times(&self, now: Moment) -> CachedTimes {
        CachedTimes {
            issued: self.credential.issued(),
            expires: self.credential.expires(),
            remaining: self.credential.remaining(now),
            refresh_in: self.due_in(now),
            is_stale: self.is_stale(),
            hits: self.uses.hits(),
            coalesced: self.uses.coalesced(),
        }
    }
}
