//! Limit of the callers that wait for fetches (P8). A part of it is for callers with few, so that two callers with thousands of
//! registries cannot keep a third one from its first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::caller::Principal;
use crate::error::BrokerError;
use crate::limits::{LimitHits, LimitName};
use crate::sync::lock;

/// Divisor of the limit for the part that only callers with few waits may use.
const RESERVE_SHARE: usize = 8;
/// Number of waits of one caller up to which it may use that part: one batch.
const FEW: usize = 100;

/// The callers that wait. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Waiters {
    counts: Arc<Mutex<Counts>>,
    max: usize,
    limit_hits: LimitHits,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    /// The waits of each caller that waits; `None`: the broker itself.
    by_caller: HashMap<Option<Principal>, usize>,
}

/// The right to wait. Dropping it ends the wait.
#[derive(Debug)]
pub(super) struct Wait {
    counts: Arc<Mutex<Counts>>,
    caller: Option<Principal>,
}

impl Waiters {
    pub(super) fn new(max: usize, limit_hits: LimitHits) -> Self {
        Self { counts: Arc::default(), max, limit_hits }
    }

    /// Returns the number of all waits.
    pub(super) fn total(&self) -> usize {
        lock(&self.counts).total
    }

    /// Admits one more wait of a caller.
    ///
    /// # Errors
    /// If as many callers wait as may.
    pub(super) fn admit(&self, caller: Option<Principal>) -> Result<Wait, BrokerError> {
        let mut counts = lock(&self.counts);
        let own = counts.by_caller.get(&caller).copied().unwrap_or(0);
        let reserve = if own < FEW { 0 } else { self.max / RESERVE_SHARE };
        if counts.total >= self.max - reserve {
            self.limit_hits.count(LimitName::Waiters);
            return Err(BrokerError::Overloaded { resource: "waiting callers", retry_after: Duration::from_secs(1) });
        }
        counts.total += 1;
        counts.by_caller.insert(caller.clone(), own + 1);
        Ok(Wait { counts: Arc::clone(&self.counts), caller })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        counts.total -= 1;
        if let Some(own) = counts.by_caller.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                counts.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    #[test]
    fn callers_with_few_waits_have_a_reserve_of_an_eighth() {
        let waiters = Waiters::new(1_600, LimitHits::new(&mut Registry::default()));
        let admit = |uid, count: usize| {
            let waits = std::iter::repeat_with(|| waiters.admit(Some(Principal::Uid(uid))));
            waits.take(count).map_while(Result::ok).collect::<Vec<_>>()
        };
        let (first, second) = (admit(1, 1_000), admit(2, 1_000));
        assert_eq!((first.len(), second.len()), (1_000, 400));
        let full = (admit(3, 1_000), admit(4, 1_000));
        assert_eq!((full.0.len(), full.1.len(), admit(5, 1).len()), (100, 100, 0));
        drop((first, second, full));
        let counts = lock(&waiters.counts);
        assert_eq!((counts.total, counts.by_caller.len()), (0, 0));
    }
}
