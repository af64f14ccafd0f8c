//! Peer: the other end of a connection, with the identity that the connection proves.

use std::sync::Arc;

use super::tls::VerifiedCertificate;
use crate::caller::Caller;
use crate::error::BrokerError;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub enum Peer {
    /// A caller that is known for as long as the connection lasts.
    Known(Caller),
    /// The subject of a client certificate, for as long as the certificate is valid.
    Certified(Arc<VerifiedCertificate>),
    /// An unauthenticated peer, with the reason and the fix.
    Unknown(&'static str),
}

impl Peer {
    /// Returns the caller of a call that is made now and carries no bearer token.
    pub(crate) fn caller(&self) -> Result<Caller, BrokerError> {
        match self {
            Self::Known(caller) => Ok(caller.clone()),
            Self::Certified(certificate) => certificate.caller().map_err(BrokerError::unauthenticated),
            Self::Unknown(problem) => Err(BrokerError::unauthenticated(problem)),
        }
    }
}
