//! The configured limits.

use std::num::NonZeroU32;

/// Configured limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}
