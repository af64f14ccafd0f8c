//! What goes wrong with TLS, in words, as far as a client can know it.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// As tonic says it, whose error is its own.
const NO_HTTP2: &str = "HTTP/2 was not negotiated.";

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
    /// It speaks TLS, and in it something else than gRPC.
    #[error("it speaks TLS, and no HTTP/2 in it, which gRPC needs")]
    NoHttp2,
    /// The two ends have no version of TLS in common, or no ciphers.
    #[error("it speaks no TLS that is spoken here: {0}")]
    NothingInCommon(String),
    /// The other end does not take this one's certificate, or misses one.
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
            let Some(io) = cause.downcast_ref::<io::Error>() else {
                return (cause.to_string() == NO_HTTP2).then_some(Self::NoHttp2);
            };
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
            rustls::Error::AlertReceived(alert) => Self::from(*alert),
            rustls::Error::PeerIncompatible(problem) => Self::NothingInCommon(format!("{problem:?}")),
            other => Self::Other(other.to_string()),
        }
    }
}

/// What the other end says when it ends the handshake.
impl From<AlertDescription> for TlsProblem {
    fn from(alert: AlertDescription) -> Self {
        let told = format!("{alert:?}");
        match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied => Self::Refused(told),
            AlertDescription::NoApplicationProtocol => Self::NoHttp2,
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => Self::NothingInCommon(told),
            _ => Self::Other(format!("it ended the handshake: {told}")),
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
        assert_eq!(TlsProblem::of(&io::Error::other(NO_HTTP2)), Some(TlsProblem::NoHttp2));
    }

    #[test]
    fn no_alert_is_blamed_on_a_certificate_but_those_that_are_about_one() {
        use AlertDescription as Alert;
        let told = |alert| TlsProblem::from(&rustls::Error::AlertReceived(alert));
        for alert in [Alert::CertificateRequired, Alert::UnknownCA, Alert::CertificateExpired, Alert::AccessDenied] {
            assert_eq!(told(alert), TlsProblem::Refused(format!("{alert:?}")));
        }
        for alert in [Alert::ProtocolVersion, Alert::HandshakeFailure] {
            assert_eq!(told(alert), TlsProblem::NothingInCommon(format!("{alert:?}")));
        }
        assert_eq!(told(Alert::NoApplicationProtocol), TlsProblem::NoHttp2);
        assert_eq!(told(Alert::InternalError).to_string(), "TLS failed: it ended the handshake: InternalError");
    }
}
