//! State of the calls to one region, for the status.

use std::time::Duration;

use crate::credential::SourceName;
use crate::registry::Region;

/// The calls to a service in one region: what is in flight and queued, and what AWS's throttling left of the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionStatus {
    /// The source that is called.
    pub source: SourceName,
    /// The region; `None`: ECR Public.
    pub region: Option<Region>,
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls that may be in flight now.
    pub limit: usize,
    /// Fetches that wait for a call.
    pub queued: usize,
    /// Time between the starts of two calls; zero if calls are not paced.
    pub interval: Duration,
    /// Retries that the retry budget has left.
    pub retries_left: u32,
    /// Time since AWS last throttled a call; `None`: never since the region's first call.
    pub throttled_ago: Option<Duration>,
}
