//! What goes wrong with TLS, in words, as far as a client can know it.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// Why TLS did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    /// No authority that is trusted vouches for the certificate.
    #[error("its certificate is signed by no authority that is trusted here")]
    UnknownAuthority,
    /// The certificate has ended.
    #[error("its certificate has expired, by this machine's clock")]
    Expired,
    /// The certificate has not begun.
    #[error("its certificate is of the future, by this machine's clock")]
    NotYet,
    /// The certificate is another host's.
    #[error("its certificate is for another name")]
    OtherName,
    /// What is at the other end speaks something else.
    #[error("it does not speak TLS")]
    NotSpoken,
    /// The other end ended it, and said why.
    #[error("it ended the handshake: {0}")]
    Refused(String),
    /// Anything else.
    #[error("TLS failed: {0}")]
    Other(String),
}

impl TlsProblem {
    /// What of an error, or of its causes, is about TLS.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        causes(error).find_map(|cause| {
            if let Some(problem) = cause.downcast_ref::<rustls::Error>() {
                return Some(Self::from(problem));
            }
            let io = cause.downcast_ref::<io::Error>()?;
            // What it wraps is not among its causes.
            let inner = io.get_ref().and_then(|inner| Self::of(inner));
            // A server that takes what it is sent for nonsense just leaves.
            let left = io.kind() == io::ErrorKind::UnexpectedEof && io.to_string().contains("tls handshake");
            inner.or_else(|| left.then_some(Self::NotSpoken))
        })
    }
}

impl From<&rustls::Error> for TlsProblem {
    fn from(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(problem) => match problem {
                CertificateError::UnknownIssuer => Self::UnknownAuthority,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
                other => Self::Other(other.to_string()),
            },
            rustls::Error::InvalidMessage(_) => Self::NotSpoken,
            rustls::Error::AlertReceived(alert) => Self::Refused(format!("{alert:?}")),
            other => Self::Other(other.to_string()),
        }
    }
}

/// An error, what caused it, and so on.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_found_wherever_it_is_wrapped() {
        let expired = || rustls::Error::InvalidCertificate(CertificateError::Expired);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, expired()));
        assert_eq!(TlsProblem::of(&expired()), Some(TlsProblem::Expired));
        assert_eq!(TlsProblem::of(&wrapped), Some(TlsProblem::Expired));
        let left = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert_eq!(TlsProblem::of(&left), Some(TlsProblem::NotSpoken));
        assert_eq!(TlsProblem::of(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }
}
