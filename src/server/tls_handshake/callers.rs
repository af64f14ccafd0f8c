//! Handshakes of callers, within the failure limit of their origin.

use std::sync::Arc;

use tokio::net::TcpStream;
use tracing::debug;

use super::{Established, NotEstablished, TlsHandshake, TlsMemory};
use crate::authn::TcpPeer;
use crate::authn::tls::{Application, Tls};
use crate::limits::{Attempt, ConnectionMemory, Limits, Origin, RetryAfter};
use crate::rejections::RejectionRecorder;
use crate::server::lifetime::Lifetime;

/// Performs handshakes. Failures count against the origin, which is rejected when it fails too often.
#[derive(Debug)]
pub(in crate::server) struct CallerHandshake {
    /// Limits of failed handshakes.
    pub(in crate::server) limits: Limits,
    /// Records rejected certificates.
    pub(in crate::server) rejections: RejectionRecorder,
}

impl CallerHandshake {
    /// Performs the handshake with a peer. What TLS keeps counts in `memory`, also afterwards.
    pub(in crate::server) async fn perform(
        &self,
        tls: &Arc<Tls>,
        stream: TcpStream,
        application: Application,
        (origin, TcpPeer { address: from, .. }): (Origin, TcpPeer),
        lifetime: &Lifetime,
        memory: &ConnectionMemory,
    ) -> Option<Established> {
        if let Err(RetryAfter(wait)) = self.limits.check_origin(origin, Attempt::Handshake) {
            debug!(%from, ?wait, "connection rejected: too many failed authentications");
            return None;
        }
        let handshake = TlsHandshake { rejections: self.rejections.clone() };
        let memory = TlsMemory { unproved: lifetime.unproved().cloned(), proved: Some(memory.clone()) };
        let failed = match handshake.perform(tls, stream, application, from, lifetime, memory).await {
            Ok(established) => return Some(established),
            Err(failed) => failed,
        };
        if !matches!(failed, NotEstablished::Draining) {
            self.limits.record_failure(origin, Attempt::Handshake);
        }
        failed.answer().await;
        None
    }
}
