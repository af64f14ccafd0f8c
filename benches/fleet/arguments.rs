//! The farm on the command line.

use std::time::Duration;

use crate::model::{Farm, Identity, Quotas};

/// Sizes a fleet of brokers: calls to AWS, cold starts, memory.
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Nodes, each with a broker.
    #[arg(long, default_value_t = 500)]
    nodes: u32,
    /// Private registries that every node uses, each of another account.
    #[arg(long, default_value_t = 20)]
    keys: u32,
    /// Regions over which these registries are spread.
    #[arg(long, default_value_t = 1)]
    regions: u32,
    /// Whether every node uses ECR Public, too.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    public: bool,
    /// Nodes that join an empty or a running farm. At most all.
    #[arg(long, default_value_t = 500)]
    joining: u32,
    /// Time in which they join.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    join_time: Duration,
    /// Restarts of each broker in a day. A restart loses what was cached.
    #[arg(long, default_value_t = 1.0)]
    restarts: f64,
    /// Hours after the join.
    #[arg(long, default_value_t = 6.0)]
    hours: f64,
    /// Requests of the jobs of one node in an hour, over all its registries.
    #[arg(long, default_value_t = 60.0)]
    pulls: f64,
    /// Median time that a call to AWS takes.
    #[arg(long, default_value = "100ms", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// AWS's quota of ECR, in calls per second, account and region.
    #[arg(long, default_value_t = 500.0)]
    ecr_quota: f64,
    /// AWS's quota of ECR Public, in calls per second and account.
    #[arg(long, default_value_t = 200.0)]
    public_quota: f64,
    /// AWS's quota of STS, in calls per second, account and region.
    #[arg(long, default_value_t = 600.0)]
    sts_quota: f64,
    /// Identity that requests tokens: the broker's own, or a role in each account.
    #[arg(long, default_value = "own")]
    identity: Identity,
    /// Central brokers.
    #[arg(long, default_value_t = 3)]
    parents: u32,
    /// Round trip between a node and a central broker.
    #[arg(long, default_value = "1ms", value_parser = humantime::parse_duration)]
    round_trip: Duration,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Arguments {
    pub(crate) fn farm(self) -> Farm {
        Farm {
            nodes: self.nodes,
            keys: self.keys.max(1),
            regions: self.regions.max(1),
            public: self.public,
            joining: self.joining.min(self.nodes),
            join_time: self.join_time.as_secs_f64(),
            restarts_per_day: self.restarts,
            hours: self.hours,
            pulls_per_hour: self.pulls,
            latency: self.latency.as_secs_f64(),
            quotas: Quotas { ecr: self.ecr_quota, public: self.public_quota, sts: self.sts_quota },
            identity: self.identity,
            parents: self.parents.max(1),
            round_trip: self.round_trip.as_secs_f64(),
            seed: self.seed,
        }
    }
}
