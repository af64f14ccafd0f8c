//! The other end of a connection to the ops listener.

use std::sync::Arc;

use crate::authn::tls::VerifiedCertificate;
use crate::broker::RequestContext;
use crate::hops::Hops;
use crate::request_id::RequestId;
use crate::status::StatusReporter;

/// The other end of a connection to the ops listener, as the listener's address tells it. The address of a peer does not: a proxy on
/// this host may forward connections of others.
#[derive(Debug, Clone)]
pub(crate) enum OpsPeer {
    /// A process that may open the Unix socket.
    UnixSocket,
    /// A process of this host, on a listener on loopback.
    Loopback,
    /// A peer of a listener that other hosts reach, with its client certificate.
    Remote(Option<Arc<VerifiedCertificate>>),
}

impl OpsPeer {
    /// Returns whether a request must name a host of the broker. No browser connects to a Unix socket.
    pub(super) fn needs_host(&self) -> bool {
        !matches!(self, Self::UnixSocket)
    }

    /// Returns whether the peer may see the status. A denial is recorded.
    pub(super) async fn is_operator(&self, reporter: &StatusReporter) -> bool {
        match self {
            Self::UnixSocket | Self::Loopback => true,
            Self::Remote(certificate) => {
                let Some(Ok(caller)) = certificate.as_ref().map(|certificate| certificate.caller()) else {
                    return false;
                };
                let context = RequestContext {
                    caller,
                    token: None,
                    id: RequestId::random(),
                    trace_id: None,
                    hops: Hops::default(),
                };
                reporter.authorize(&context).await.is_ok()
            }
        }
    }
}
