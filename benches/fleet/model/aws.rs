//! AWS: quotas as token buckets of one second, and the calls of each second.

use super::farm::{Farm, Identity, Scope};
use super::outcome::Counts;

/// The services and their quotas.
#[derive(Debug)]
pub(super) struct Aws {
    /// By region, or by account if roles request the tokens.
    ecr: Vec<Quota>,
    public: Quota,
    sts: Quota,
}

/// A quota of calls per second.
#[derive(Debug)]
struct Quota {
    per_second: f64,
    left: f64,
    at: f64,
    counts: Counts,
}

impl Aws {
    pub(super) fn new(farm: &Farm, scope: Scope) -> Self {
        let quota = |per_second| Quota { per_second, left: per_second, at: f64::MIN, counts: Counts::default() };
        let buckets = match (farm.identity, scope) {
            (Identity::Role, Scope::Account) => farm.keys,
            _ => farm.regions,
        };
        Self {
            ecr: (0..buckets).map(|_| quota(farm.quotas.ecr)).collect(),
            public: quota(farm.quotas.public),
            sts: quota(farm.quotas.sts),
        }
    }

    /// Calls ECR with the quota of this number, or ECR Public without one. Returns whether AWS admits the call.
    pub(super) fn token(&mut self, bucket: Option<u32>, now: f64) -> bool {
        match bucket {
            Some(bucket) => {
                let bucket = bucket as usize % self.ecr.len();
                self.ecr[bucket].call(now)
            }
            None => self.public.call(now),
        }
    }

    pub(super) fn sts(&mut self, now: f64) -> bool {
        self.sts.call(now)
    }

    /// Returns the calls of ECR by quota, of ECR Public and of STS.
    pub(super) fn counts(&self) -> (Vec<&Counts>, &Counts, &Counts) {
        (self.ecr.iter().map(|quota| &quota.counts).collect(), &self.public.counts, &self.sts.counts)
    }
}

impl Quota {
    fn call(&mut self, now: f64) -> bool {
        self.left = (self.left + (now - self.at) * self.per_second).min(self.per_second);
        self.at = now;
        let is_admitted = self.left >= 1.0;
        if is_admitted {
            self.left -= 1.0;
        }
        self.counts.add(now, is_admitted);
        is_admitted
    }
}
