//! Settings of admission control.

/// Limits of the calls to AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Maximum number of calls in flight to one service in one region.
    pub max_in_flight_per_region: usize,
    /// Maximum number of calls in flight in all regions together, beyond the first eight of each region. One requester has half of it.
    pub max_in_flight: usize,
    /// Maximum number of queued calls of one requester.
    pub max_queued_per_requester: usize,
}
