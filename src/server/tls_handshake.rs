//! TLS handshakes: their time limit, and the record of rejected client certificates.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use self::stream::HandshakeStream;
use super::lifetime::Lifetime;
use crate::audit::{Outcome, Proof, Unauthenticated};
use crate::authn::tls::{self, Application, Tls, VerifiedCertificate};
use crate::limits::{Origin, UnprovedHandshake};
use crate::rejections::{Kind, RejectionRecorder, Subject};

mod stream;

/// Time for a TLS handshake. The connection limits bound how many run at a time. A queue of handshakes would not do: silent peers
/// would take the turns of their neighbours.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An established connection, and the client certificate if the peer presented one.
pub(super) type Established = (TlsStream<HandshakeStream<TcpStream>>, Option<VerifiedCertificate>);

/// Failure of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotEstablished {
    /// The peer failed, or took too long.
    Failed,
    /// The connection must end before its handshake did.
    Draining,
}

/// Performs handshakes.
#[derive(Debug, Clone)]
pub(crate) struct TlsHandshake {
    /// Records rejected certificates.
    pub(crate) rejections: RejectionRecorder,
}

impl TlsHandshake {
    /// Performs the server's side of a handshake with the peer at `from`.
    pub(super) async fn perform(
        &self,
        tls: &Arc<Tls>,
        stream: TcpStream,
        application: Application,
        from: IpAddr,
        lifetime: &Lifetime,
    ) -> Result<Established, NotEstablished> {
        let stream = HandshakeStream::new(stream, UnprovedHandshake::begin(lifetime.unproved()));
        let handshake = tokio::select! {
            handshake = tokio::time::timeout(TIMEOUT, tls.accept(stream, application)) => handshake,
            () = lifetime.draining() => return Err(NotEstablished::Draining),
        };
        match handshake {
            Ok(Ok((mut stream, certificate))) => {
                stream.get_mut().0.note_established();
                return Ok((stream, certificate));
            }
            Ok(Err(error)) => self.record_failure(&error, from),
            Err(_) => debug!(%from, "connection closed: TLS handshake timed out"),
        }
        Err(NotEstablished::Failed)
    }

    /// Records a client certificate that was rejected, or counts it. Other failed handshakes are noise.
    fn record_failure(&self, error: &io::Error, from: IpAddr) {
        let Some(reason) = tls::certificate_problem(error) else {
            debug!(%error, %from, "connection closed: TLS handshake failed");
            return;
        };
        let kind = Kind::Unauthenticated(Proof::Certificate, reason);
        let Some(admitted) = self.rejections.admit(Subject::Origin(Origin::of(from)), kind) else { return };
        warn!(%error, %from, "connection closed: client certificate rejected");
        let record = Unauthenticated {
            request_id: None,
            trace_id: None,
            outcome: Outcome::Unauthenticated,
            origin: from.to_string(),
            proof: Proof::Certificate,
            reason,
        };
        // A failed write is counted.
        drop(self.rejections.queue(&admitted, &record));
    }
}
