//! The farm: what is given to the model.

use std::str::FromStr;

/// A farm of build nodes. Times are seconds.
#[derive(Debug, Clone)]
pub(crate) struct Farm {
    /// Nodes, each with a broker.
    pub(crate) nodes: u32,
    /// Private registries that every node uses, each of another account.
    pub(crate) keys: u32,
    /// Regions over which they are spread.
    pub(crate) regions: u32,
    /// Whether every node uses ECR Public, too.
    pub(crate) public: bool,
    /// Nodes that join; the others run already.
    pub(crate) joining: u32,
    /// Time in which they join.
    pub(crate) join_time: f64,
    /// Restarts of each broker in a day.
    pub(crate) restarts_per_day: f64,
    /// Hours after the start of the join.
    pub(crate) hours: f64,
    /// Requests of one node's jobs in an hour.
    pub(crate) pulls_per_hour: f64,
    /// Median time of a call to AWS.
    pub(crate) latency: f64,
    pub(crate) quotas: Quotas,
    pub(crate) identity: Identity,
    /// Central brokers.
    pub(crate) parents: u32,
    /// Round trip between a node and a central broker.
    pub(crate) round_trip: f64,
    pub(crate) seed: u64,
}

/// AWS's quotas in calls per second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quotas {
    pub(crate) ecr: f64,
    pub(crate) public: f64,
    pub(crate) sts: f64,
}

/// The identity that requests tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The broker's own: all calls count in its account.
    Own,
    /// A role in each account: calls count in that account, after a call of `AssumeRole`.
    Role,
}

/// Which brokers ask AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Every node.
    Alone,
    /// Central brokers, which nodes ask again for each refresh.
    Unary,
    /// Central brokers, which push refreshes to the nodes.
    Watch,
    /// The same with the shared tier between the central brokers.
    Tier,
}

/// What one token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Account,
    /// All registries of a region that the identity may use.
    Identity,
}

impl Shape {
    pub(crate) const ALL: [Self; 4] = [Self::Alone, Self::Unary, Self::Watch, Self::Tier];

    pub(crate) fn name(self, parents: u32) -> String {
        match self {
            Self::Alone => "each node alone".to_owned(),
            Self::Unary => format!("{parents} central, unary"),
            Self::Watch => format!("{parents} central, watch"),
            Self::Tier => format!("{parents} central, watch, tier"),
        }
    }

    pub(crate) fn watches(self) -> bool {
        matches!(self, Self::Watch | Self::Tier)
    }
}

impl Scope {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Identity => "identity",
        }
    }
}

impl FromStr for Identity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "own" => Ok(Self::Own),
            "role" => Ok(Self::Role),
            _ => Err("expected \"own\" or \"role\"".to_owned()),
        }
    }
}
