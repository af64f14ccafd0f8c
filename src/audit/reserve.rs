//! The reserve: free space that only records of releases may use, and of which no caller may use more than a share.

use std::collections::HashMap;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::caller::{Caller, CallerGroup, Principal};
use crate::log_throttle::LogThrottle;

/// Part of the free space that one caller's records may use up, once less is free than the reserve. The share shrinks with what is
/// left, so that any number of callers leaves something to the next one (dynamic threshold, as switches share their buffers).
const CALLER_SHARE: u64 = 8;
/// The same of all callers of a group: an issuer can make up subjects.
const GROUP_SHARE: u64 = 2;
/// What every caller may use, however little is left: about a hundred records.
const MIN_CALLER_BYTES: u64 = 64 * 1024;
/// What every group may use.
const MIN_GROUP_BYTES: u64 = 1024 * 1024;
/// Part of the reserve that must be free beyond it before it counts as recovered. A process of the host that takes space and frees it
/// again would else renew the shares with each turn.
const RECOVERED_SHARE: u64 = 16;
/// Callers whose use is counted one by one. Further ones count with their group only.
const MAX_CALLERS: usize = 8_192;

/// The free space, and who has used it since it fell below the reserve.
#[derive(Debug)]
pub(super) struct Reserve {
    bytes: u64,
    free: u64,
    is_reached: bool,
    /// Whether a caller was refused since then.
    has_refused: bool,
    by_caller: HashMap<Principal, u64>,
    by_group: HashMap<CallerGroup, u64>,
    created: Instant,
    /// Of the lines that say that the reserve was reached, and that it has recovered.
    logs: [LogThrottle; 2],
}

impl Reserve {
    pub(super) fn new(bytes: u64) -> Self {
        let (by_caller, by_group, logs) = Default::default();
        let created = Instant::now();
        Self { bytes, free: u64::MAX, is_reached: false, has_refused: false, by_caller, by_group, created, logs }
    }

    /// Notes the free space; `None` if the output has no such limit.
    pub(super) fn note_free(&mut self, free: Option<u64>) {
        self.free = free.unwrap_or(u64::MAX);
        let needed = if self.is_reached { self.bytes.saturating_add(self.bytes / RECOVERED_SHARE) } else { self.bytes };
        let is_reached = self.free < needed;
        if std::mem::replace(&mut self.is_reached, is_reached) == is_reached {
            return;
        }
        let (free, reserve, now) = (self.free, self.bytes, self.created.elapsed());
        let [reached, recovered] = &self.logs;
        if is_reached && reached.is_due(now) {
            warn!(free, reserve, "audit reserve reached; denials are only counted, and callers have shares");
        } else if !is_reached && recovered.is_due(now) {
            info!(free, reserve, "audit reserve recovered");
        }
        if !is_reached {
            self.has_refused = false;
            self.by_caller.clear();
            self.by_group.clear();
        }
    }

    /// Notes written bytes since the free space was read. Shares are counted in [`Self::admit`].
    pub(super) fn note_written(&mut self, bytes: u64) {
        if !self.is_reached && self.free != u64::MAX {
            self.note_free(Some(self.free.saturating_sub(bytes)));
        }
    }

    /// Returns whether rejections have no record.
    pub(super) fn is_reached(&self) -> bool {
        self.is_reached
    }

    /// Returns whether a record of a release may be written, and counts it.
    pub(super) fn admit(&mut self, caller: &Caller, bytes: u64) -> bool {
        if !self.is_reached {
            return true;
        }
        let principal = caller.principal();
        let group = CallerGroup::from(&principal);
        let [of_caller, of_group] = [self.by_caller.get(&principal), self.by_group.get(&group)]
            .map(|used| used.copied().unwrap_or_default() + bytes);
        let [caller_share, group_share] = [(CALLER_SHARE, MIN_CALLER_BYTES), (GROUP_SHARE, MIN_GROUP_BYTES)]
            .map(|(share, least)| (self.free / share).max(least));
        if of_caller > caller_share || of_group > group_share {
            if !std::mem::replace(&mut self.has_refused, true) {
                warn!(caller = %principal, "audit reserve share used up; releases to the caller are refused");
            }
            return false;
        }
        if self.by_caller.len() < MAX_CALLERS || self.by_caller.contains_key(&principal) {
            self.by_caller.insert(principal, of_caller);
        }
        self.by_group.insert(group, of_group);
        self.free = self.free.saturating_sub(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: u64 = 500;
    const RESERVE: u64 = 64 * 1024 * 1024;

    /// Returns how many records a caller can write before one is refused.
    fn records(reserve: &mut Reserve, caller: &str) -> u64 {
        let caller = caller.parse().unwrap();
        (0..u64::MAX).take_while(|_| reserve.admit(&caller, RECORD)).count() as u64
    }

    fn reached() -> Reserve {
        let mut reserve = Reserve::new(RESERVE);
        reserve.note_free(Some(RESERVE - 1));
        reserve
    }

    #[test]
    fn caller_above_its_share_leaves_the_reserve_to_others() {
        let mut reserve = reached();
        let flood = records(&mut reserve, "uid:1001,gid:1001") * RECORD;
        assert!((RESERVE / 10..=RESERVE / 8).contains(&flood), "{flood}");
        assert_eq!(records(&mut reserve, "uid:1001,gid:9"), 0, "the group of a process makes no other caller");
        assert!(records(&mut reserve, "uid:1002,gid:1") * RECORD > RESERVE / 11);
        reserve.note_free(Some(2 * RESERVE));
        assert!(reserve.admit(&"uid:1001,gid:1001".parse().unwrap(), RECORD), "the space has returned");
    }

    #[test]
    fn space_that_comes_and_goes_renews_no_share() {
        let mut reserve = reached();
        let first = records(&mut reserve, "uid:1001,gid:1001");
        for _ in 0..100 {
            reserve.note_free(Some(RESERVE + RESERVE / 32));
            assert!(reserve.is_reached());
            reserve.note_free(Some(RESERVE - 1));
        }
        assert!(records(&mut reserve, "uid:1001,gid:1001") <= first / 8);
        reserve.note_free(Some(RESERVE + RESERVE / 8));
        assert!(!reserve.is_reached());
        reserve.note_free(Some(RESERVE));
        assert!(!reserve.is_reached());
    }

    #[test]
    fn issuer_with_any_number_of_subjects_leaves_a_third_to_others() {
        let mut reserve = reached();
        let written: u64 = (0..20_000).map(|number| records(&mut reserve, &format!("jwt:ci:{number}"))).sum();
        assert!((RESERVE / 4..RESERVE * 2 / 3).contains(&(written * RECORD)), "{written}");
        assert!(reserve.by_caller.len() <= MAX_CALLERS);
        assert!(records(&mut reserve, "jwt:other:a") * RECORD > RESERVE / 32);
        assert!(records(&mut reserve, "uid:1001,gid:1001") * RECORD > RESERVE / 32);
    }

    #[test]
    fn every_caller_may_write_some_records_however_little_is_left() {
        let mut reserve = Reserve::new(RESERVE);
        reserve.note_free(Some(0));
        assert_eq!(records(&mut reserve, "loopback"), MIN_CALLER_BYTES / RECORD);
        assert_eq!(records(&mut reserve, "aws-api"), MIN_CALLER_BYTES / RECORD);
    }

    #[test]
    fn nothing_is_shared_above_the_reserve_or_without_one() {
        for (bytes, free) in [(RESERVE, Some(RESERVE)), (RESERVE, None), (0, Some(0))] {
            let mut reserve = Reserve::new(bytes);
            reserve.note_free(free);
            let caller = Caller::Loopback;
            assert!((0..1_000).all(|_| reserve.admit(&caller, RESERVE)) && !reserve.is_reached());
        }
    }
}
