//! What the model counts, and the outcome of one run.

use super::memory::Memory;

/// Time after the join in which its calls still end.
const AFTERMATH: f64 = 30.0;

/// Calls by second. Those before the join are not counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    by_second: Vec<u32>,
    throttled: u64,
}

/// The calls to a service. A peak is that of the quota with the highest one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Calls {
    /// During the join.
    pub(crate) joining: u64,
    /// In the whole run.
    pub(crate) total: u64,
    /// The most in one second of the join.
    pub(crate) peak: u32,
    /// In a second of the last half of the run, when refreshes and restarts are steady.
    pub(crate) later_per_second: f64,
    pub(crate) throttled: u64,
}

/// Times of the nodes that join, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Times {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

/// The outcome of one run.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) ecr: Calls,
    pub(crate) public: Calls,
    pub(crate) sts: Calls,
    /// From a node's start to its first credential.
    pub(crate) first: Times,
    /// From a node's start to the credentials of all its registries.
    pub(crate) all: Times,
    pub(crate) memory: Memory,
    /// Operations of the shared tier.
    pub(crate) tier: Option<Calls>,
}

impl Counts {
    pub(super) fn add(&mut self, at: f64, is_admitted: bool) {
        if at < 0.0 {
            return;
        }
        let second = at as usize;
        if self.by_second.len() <= second {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += 1;
        self.throttled += u64::from(!is_admitted);
    }
}

impl Calls {
    /// Sums up the counts of a service's quotas.
    pub(super) fn of(counts: &[&Counts], join_time: f64, end: f64) -> Self {
        let between = |from: f64, to: f64| {
            let seconds = move |count: &&Counts| {
                let part = count.by_second.iter().skip(from as usize).take((to - from).max(0.0) as usize);
                part.copied().collect::<Vec<_>>()
            };
            counts.iter().flat_map(seconds)
        };
        let sum = |from, to| between(from, to).map(u64::from).sum::<u64>();
        let (joined, half) = (join_time + AFTERMATH, end / 2.0);
        Self {
            joining: sum(0.0, joined),
            total: sum(0.0, f64::from(u32::MAX)),
            peak: between(0.0, joined).max().unwrap_or_default(),
            later_per_second: sum(half, end) as f64 / (end - half).max(1.0),
            throttled: counts.iter().map(|count| count.throttled).sum(),
        }
    }
}

impl Times {
    pub(super) fn of(mut times: Vec<f64>) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            times.get((times.len() as f64 * share) as usize).or_else(|| times.last()).copied().unwrap_or_default()
        };
        Self { median: at(0.5), p99: at(0.99) }
    }
}
