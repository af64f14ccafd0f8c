//! Usage of all callers together, for the status. It names no caller.

/// The usage of limits that all callers share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitsStatus {
    /// Requests in flight.
    pub requests: Used,
    /// Watched registries.
    pub watches: Used,
    /// Bytes of memory of watches.
    pub watch_bytes: Used,
    /// Connections whose peer has proved nothing yet.
    pub unproved: Used,
}

/// Open connections of callers by their kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionsStatus {
    /// Over TCP.
    pub tcp: Used,
    /// Over Unix sockets.
    pub unix: Used,
    /// To the ECR API.
    pub aws_api: Used,
}

/// How much of a limit is used. A part of some limits is kept for callers with low usage, beyond the maximum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// The usage.
    pub used: usize,
    /// The maximum.
    pub max: usize,
}
