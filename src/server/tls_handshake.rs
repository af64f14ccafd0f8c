//! TLS handshakes: their time limit, and the record of rejected client certificates.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use self::stream::HandshakeStream;
use super::first_bytes::{self, NEEDS_TLS, PREFACE, Spoken};
use super::lifetime::Lifetime;
use super::misbehaviour;
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
#[derive(Debug)]
pub(super) enum NotEstablished {
    /// The peer failed, or took too long.
    Failed,
    /// The peer speaks HTTP/1.1 without TLS, and waits for an answer.
    Http1(TcpStream),
    /// The connection must end before its handshake did.
    Draining,
}

impl NotEstablished {
    /// Answers a peer that waits for it.
    pub(super) async fn answer(self) {
        if let Self::Http1(stream) = self {
            // Boxed: the future of every connection would have room for it.
            Box::pin(first_bytes::refuse(stream, NEEDS_TLS)).await;
        }
    }
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
        let handshake = self.shake_hands(tls, stream, application, from, lifetime);
        let handshake = tokio::select! {
            handshake = tokio::time::timeout(TIMEOUT, handshake) => handshake,
            () = lifetime.draining() => return Err(NotEstablished::Draining),
        };
        let mut established = handshake.unwrap_or_else(|_| {
            debug!(%from, "connection closed: TLS handshake timed out");
            Err(NotEstablished::Failed)
        })?;
        established.0.get_mut().0.note_established();
        Ok(established)
    }

    /// Performs the handshake, or records why it failed.
    async fn shake_hands(
        &self,
        tls: &Arc<Tls>,
        stream: TcpStream,
        application: Application,
        from: IpAddr,
        lifetime: &Lifetime,
    ) -> Result<Established, NotEstablished> {
        let spoken = spoken(&stream).await;
        if spoken == Spoken::Http1 {
            misbehaviour::record(&self.rejections, "HTTP/1.1 without TLS on a port with TLS", Origin::of(from));
            return Err(NotEstablished::Http1(stream));
        }
        let stream = HandshakeStream::new(stream, UnprovedHandshake::begin(lifetime.unproved()));
        tls.accept(stream, application).await.map_err(|error| {
            match spoken {
                // rustls has answered with an alert, by which a client recognizes TLS.
                Spoken::Http2 => {
                    misbehaviour::record(&self.rejections, "HTTP/2 without TLS on a port with TLS", Origin::of(from));
                }
                _ => self.record_failure(&error, from),
            }
            NotEstablished::Failed
        })
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

/// Returns the protocol of a peer by the first bytes that arrive, which stay unread.
async fn spoken(stream: &TcpStream) -> Spoken {
    let mut first = [0; PREFACE.len()];
    // The handshake meets the same error.
    let count = stream.peek(&mut first).await.unwrap_or_default();
    Spoken::of(&first[..count])
}
