//! Bounded memories of who was rejected how often: one for each group, so that no issuer's subjects displace other callers.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::kind::Kind;
use super::subject::{Group, Subject};
use super::summary::Summary;
use crate::audit::Outcome;
use crate::limits::Rate;
use crate::sync::lock;

/// Time between two records of counts.
pub const FLUSH_INTERVAL: Duration = Duration::from_mins(1);
/// Maximum number of a group's remembered kinds and subjects, and so of records in one flush. Further ones are counted together.
pub(super) const MAX_ENTRIES: usize = 1_024;
/// Records per second about all subjects of a group together.
const GROUP_PER_SECOND: NonZeroU32 = NonZeroU32::new(250).unwrap();
/// Seconds of a rate that may come at once.
const BURST: NonZeroU32 = NonZeroU32::MIN;

/// The memories of all groups.
#[derive(Debug)]
pub(super) struct Memories {
    per_second: NonZeroU32,
    by_group: Mutex<BTreeMap<Group, Arc<Memory>>>,
}

impl Memories {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self { per_second, by_group: Mutex::default() }
    }

    /// Counts a rejection, unless it may have records now. Then returns the count of those without an audit record.
    pub(super) fn admit(&self, subject: Subject, kind: Kind, now: Duration) -> Option<Arc<AtomicU64>> {
        let group = Group::of(&subject);
        let memory = {
            let mut by_group = lock(&self.by_group);
            let memory =
                by_group.entry(group).or_insert_with_key(|group| Arc::new(Memory::new(group, self.per_second)));
            Arc::clone(memory)
        };
        memory.admit(subject, kind, now)
    }

    /// Takes the counts of all groups for their records.
    pub(super) fn take(&self) -> Vec<Summary> {
        let memories: Vec<_> = lock(&self.by_group).values().cloned().collect();
        memories.iter().flat_map(|memory| memory.take()).collect()
    }
}

/// Rates and counts of the subjects of a group.
#[derive(Debug)]
struct Memory {
    /// The group's name, if it is one of callers.
    callers: Option<String>,
    per_second: NonZeroU32,
    total: Rate,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<(Subject, Kind), Entry>,
    /// The rest: of subjects beyond [`MAX_ENTRIES`], by the outcome in the audit log.
    rest: HashMap<Option<Outcome>, Counts>,
}

#[derive(Debug)]
struct Entry {
    rate: Rate,
    counts: Counts,
    /// Whether there was a rejection since the last flush.
    active: bool,
}

/// Rejections without a record.
#[derive(Debug, Default)]
struct Counts {
    unlogged: u64,
    unaudited: Arc<AtomicU64>,
}

impl Memory {
    fn new(group: &Group, per_second: NonZeroU32) -> Self {
        let total = Rate::with_burst(GROUP_PER_SECOND.max(per_second), BURST);
        Self { callers: group.callers(), per_second, total, entries: Mutex::default() }
    }

    fn admit(&self, subject: Subject, kind: Kind, now: Duration) -> Option<Arc<AtomicU64>> {
        let mut entries = lock(&self.entries);
        let Entries { by_key, rest } = &mut *entries;
        let key = (subject, kind);
        if by_key.len() >= MAX_ENTRIES && !by_key.contains_key(&key) {
            rest.entry(kind.outcome()).or_default().add(kind);
            return None;
        }
        let rate = self.rate(&key);
        let entry = by_key.entry(key).or_insert_with(|| Entry { rate, counts: Counts::default(), active: true });
        entry.active = true;
        let admits = |rate: &Rate| rate.admit(NonZeroU32::MIN, now).is_ok();
        if admits(&entry.rate) && admits(&self.total) {
            return Some(Arc::clone(&entry.counts.unaudited));
        }
        entry.counts.add(kind);
        None
    }

    /// Takes the counts for their records. Forgets subjects without a rejection since the last time.
    fn take(&self) -> Vec<Summary> {
        let mut entries = lock(&self.entries);
        let Entries { by_key, rest } = &mut *entries;
        by_key.retain(|_, entry| std::mem::take(&mut entry.active) || entry.counts.is_unaudited());
        let known = by_key.iter_mut().map(|((subject, kind), entry)| {
            let (subject, name, proof) = (Some(subject.clone()), kind.name(), kind.failed_proof());
            entry.counts.summary(subject, name, kind.outcome(), proof)
        });
        let rest = rest.iter_mut().map(|(outcome, counts)| {
            let callers = self.callers.clone();
            Summary { callers, ..counts.summary(None, "OTHERS", *outcome, None) }
        });
        known.chain(rest).filter(|summary| !summary.is_empty()).collect()
    }

    /// Returns the rate of a new entry. A peer without a proof gets a record a minute: its number is all that matters.
    fn rate(&self, (subject, kind): &(Subject, Kind)) -> Rate {
        match subject {
            Subject::Caller(_) if kind.is_recorded_each_second() => Rate::with_burst(self.per_second, BURST),
            Subject::Caller(_) | Subject::Origin(_) => Rate::one_in(FLUSH_INTERVAL),
        }
    }
}

impl Counts {
    fn add(&mut self, kind: Kind) {
        self.unlogged += 1;
        if kind.outcome().is_some() {
            self.unaudited.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_unaudited(&self) -> bool {
        self.unaudited.load(Ordering::Relaxed) > 0
    }

    fn summary(
        &mut self,
        subject: Option<Subject>,
        reason: &'static str,
        outcome: Option<Outcome>,
        failed_proof: Option<(crate::audit::Proof, &'static str)>,
    ) -> Summary {
        let unlogged = std::mem::take(&mut self.unlogged);
        let unaudited = Arc::clone(&self.unaudited);
        Summary { subject, callers: None, reason, outcome, failed_proof, unlogged, unaudited }
    }
}
