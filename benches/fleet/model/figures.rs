//! Measured figures. `docs/scaling.md` names the run of each.

/// Memory of a broker after its first answer.
pub(super) const BROKER_BYTES: f64 = 18.5e6;
/// Memory of a cached credential.
pub(super) const KEY_BYTES: f64 = 4.9e3;
/// Memory of a central broker for the connection of a node, with TLS and a client certificate.
pub(super) const CONNECTION_BYTES: f64 = 30e3;
/// Memory of a central broker for each registry that a node watches.
pub(super) const WATCHED_BYTES: f64 = 4.7e3;
/// Processor time of a hit, and of an event that a watch sends.
pub(super) const HIT_CPU: f64 = 20.3e-6;
/// Processor time of a TLS handshake with a client certificate, and of its first call.
pub(super) const HANDSHAKE_CPU: f64 = 1e-3;
/// Cores of a central broker.
pub(super) const CORES: f64 = 2.0;
/// Round trip to the shared tier.
pub(super) const TIER_ROUND_TRIP: f64 = 0.5e-3;
