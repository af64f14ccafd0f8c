//! TLS handshakes: their time limit, the record of rejected client certificates, and the memory of TLS before and after them.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tracing::{debug, warn};

pub(super) use self::callers::CallerHandshake;
pub(super) use self::established::EstablishedStream;
pub(super) use self::memory::TlsMemory;
use self::stream::HandshakeStream;
use super::first_bytes::{self, NEEDS_TLS, PREFACE, Spoken};
use super::lifetime::Lifetime;
use super::misbehaviour;
use crate::audit::{Outcome, Proof, Unauthenticated};
use crate::authn::tls::{self, Application, Tls, VerifiedCertificate};
use crate::limits::Origin;
use crate::rejections::{Kind, RejectionRecorder, Subject};

mod callers;
mod established;
mod memory;
mod records;
mod stream;

/// Time for a TLS handshake. The connection limits bound how many run at a time. A queue of handshakes would not do: silent peers
/// would take the turns of their neighbours.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An established connection, and the client certificate if the peer presented one.
pub(super) type Established = (EstablishedStream<TcpStream>, Option<VerifiedCertificate>);

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
    /// Performs the server's side of a handshake with the peer at `from`. What TLS keeps counts in `memory`, also afterwards.
    pub(super) async fn perform(
        &self,
        tls: &Arc<Tls>,
        stream: TcpStream,
        application: Application,
        from: IpAddr,
        lifetime: &Lifetime,
        memory: TlsMemory,
    ) -> Result<Established, NotEstablished> {
        // Boxed: the future of a connection would have room for it for as long as the connection lasts.
        let handshake = Box::pin(self.shake_hands(tls, stream, application, from, memory));
        let handshake = tokio::select! {
            handshake = tokio::time::timeout(TIMEOUT, handshake) => handshake,
            () = lifetime.draining() => return Err(NotEstablished::Draining),
        };
        handshake.unwrap_or_else(|_| {
            debug!(%from, "connection closed: TLS handshake timed out");
            Err(NotEstablished::Failed)
        })
    }

    /// Performs the handshake, or records why it failed.
    async fn shake_hands(
        &self,
        tls: &Arc<Tls>,
        stream: TcpStream,
        application: Application,
        from: IpAddr,
        memory: TlsMemory,
    ) -> Result<Established, NotEstablished> {
        let spoken = spoken(&stream).await;
        if spoken == Spoken::Http1 {
            misbehaviour::record(&self.rejections, "HTTP/1.1 without TLS on a port with TLS", Origin::of(from));
            return Err(NotEstablished::Http1(stream));
        }
        let accepted = tls.accept(HandshakeStream::new(stream, memory.clone()), application).await;
        let (stream, certificate) = accepted.map_err(|error| {
            match spoken {
                // rustls has answered with an alert, by which a client recognizes TLS.
                Spoken::Http2 => {
                    misbehaviour::record(&self.rejections, "HTTP/2 without TLS on a port with TLS", Origin::of(from));
                }
                _ => self.record_failure(&error, from),
            }
            NotEstablished::Failed
        })?;
        Ok((EstablishedStream::new(stream, memory), certificate))
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
            via: Vec::new(),
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
