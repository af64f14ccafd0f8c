//! The configured limits.

use std::num::NonZeroU32;

use crate::policy::CallerPattern;

/// Configured limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Requests per second of one remote caller; the burst is ten seconds' worth.
    pub requests_per_second: NonZeroU32,
    /// Requests per second of one caller on this host; the burst is ten seconds' worth.
    pub local_requests_per_second: NonZeroU32,
    /// Requests of one caller in flight.
    pub in_flight: usize,
    /// Memory of all watches, in bytes.
    pub watch_memory: usize,
    /// Memory of the watches of one caller, in bytes.
    pub watch_memory_per_caller: usize,
    /// Failed authentications per second of one origin; the burst is ten seconds' worth.
    pub failures_per_second: NonZeroU32,
    /// Open TCP connections whose peer is not authenticated.
    pub unproved_connections: usize,
    /// Limits of named callers. The first entry that matches a caller decides.
    pub callers: Vec<CallerLimits>,
}

/// The limits of the callers that patterns name. A limit that is `None` is the general one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerLimits {
    /// The callers; one match is enough. Each has these limits alone.
    pub callers: Vec<CallerPattern>,
    /// Requests per second; the burst is ten seconds' worth.
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests in flight.
    pub in_flight: Option<usize>,
    /// Watched registries.
    pub watches: Option<usize>,
    /// Memory of the watches, in bytes.
    pub watch_memory_per_caller: Option<usize>,
}
