//! Settings of connections and of the drain.

use std::time::Duration;

use ipnet::IpNet;

/// Limits of connections and of the drain. The names are those of the section `server` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Time that requests in flight have to finish after the shutdown began.
    pub drain_timeout: Duration,
    /// Time between the signal and the drain.
    pub drain_delay: Duration,
    /// Age at which a connection is asked to end, ±10 %.
    pub max_connection_age: Duration,
    /// Open connections over TCP, over Unix sockets, and to the ECR API, each.
    pub max_connections: usize,
    /// Open connections from one IPv4 address or one IPv6 /64 network.
    pub max_connections_per_address: usize,
    /// Open connections from one user, over Unix sockets.
    pub max_connections_per_uid: usize,
    /// Networks of proxies whose connections start with a PROXY protocol v2 header.
    pub proxy_protocol_from: Vec<IpNet>,
}
