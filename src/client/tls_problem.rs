//! TLS failures that a client can tell apart, with an error text for each.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use super::error_chain::{causes, error_chain};

/// The fix of a failure that a later attempt meets again.
pub(super) const RUN_DOCTOR: &str = "run `ecr-broker doctor` with the same settings for the cause and a fix";

/// tonic's text for a connection without HTTP/2; its error type is private.
const NO_HTTP2: &str = "HTTP/2 was not negotiated.";

/// rustls's text for an alert of the server, in errors of h2, which keep the text only.
const ALERT: &str = "received fatal alert: ";
/// Alerts about the client's certificate, or its absence.
const CERTIFICATE_ALERTS: [AlertDescription; 8] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::UnknownCA,
    AlertDescription::CertificateUnknown,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::AccessDenied,
];

/// webpki's text for a CA certificate that a server presents as its own. rustls has no error for it.
const CA_USED_AS_SERVER: &str = "CaUsedAsEndEntity";

/// Why a TLS connection failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    /// A certificate that no trusted authority signed.
    #[error("certificate is signed by an untrusted authority")]
    UnknownAuthority,
    /// A certificate past its end.
    #[error("certificate has expired by this machine's clock")]
    Expired,
    /// A certificate before its start.
    #[error("certificate is not valid yet; check this machine's clock")]
    NotYetValid,
    /// A certificate for other names.
    #[error("certificate is for another name")]
    NameMismatch,
    /// A certificate without any name.
    #[error("certificate has no subject alternative name")]
    Nameless,
    /// A certificate that may sign others.
    #[error("certificate is a CA certificate, which must not serve")]
    Authority,
    /// A certificate for another purpose, such as that of a client.
    #[error("certificate is not for servers")]
    NotForServers,
    /// A server that does not speak TLS.
    #[error("it does not speak TLS")]
    NotTls,
    /// A server that ends the connection during the handshake, as a server without TLS does, or one that stops.
    #[error("it does not speak TLS, or closes the connection during the handshake")]
    HandshakeCut,
    /// A server that speaks TLS without HTTP/2.
    #[error("it speaks TLS without HTTP/2, which gRPC needs")]
    NoHttp2,
    /// A server without a TLS version or cipher suite in common with this client.
    #[error("no TLS version or cipher suite in common: {0}")]
    Incompatible(String),
    /// A server that ended the handshake because of the client's certificate, or because there was none.
    #[error("client certificate missing or rejected: {0}")]
    ClientCertificateRejected(String),
    /// A client's certificate with the key of another.
    #[error("client certificate and key do not belong together; name a certificate and its own key")]
    KeyMismatch,
    /// Any other failure.
    #[error("TLS failed: {0}")]
    Other(String),
}

impl TlsProblem {
    /// Returns the TLS failure among an error and its causes.
    #[must_use]
    pub fn find_in(error: &(dyn Error + 'static)) -> Option<Self> {
        causes(error).find_map(|cause| {
            if let Some(problem) = cause.downcast_ref::<rustls::Error>() {
                return Some(Self::from(problem));
            }
            let Some(io) = cause.downcast_ref::<io::Error>() else {
                let text = cause.to_string();
                return if text == NO_HTTP2 { Some(Self::NoHttp2) } else { Self::of_alert_in(&text) };
            };
            // `source()` of an io::Error skips the wrapped error itself, so search that one first.
            let inner = io.get_ref().and_then(|inner| Self::find_in(inner));
            let cut = io.kind() == io::ErrorKind::UnexpectedEof && io.to_string().contains("tls handshake");
            inner.or_else(|| cut.then_some(Self::HandshakeCut))
        })
    }
}

impl TlsProblem {
    /// Reads an alert about the client's certificate from the text of an error that has lost its type.
    fn of_alert_in(text: &str) -> Option<Self> {
        let (_, name) = text.split_once(ALERT)?;
        CERTIFICATE_ALERTS.into_iter().find(|alert| format!("{alert:?}") == name).map(Self::from)
    }
}

/// Returns the text of an error of a connection: that of its TLS failure, which rustls would print in Debug form, or its causes.
pub(super) fn connection_error(error: &(dyn Error + 'static)) -> String {
    if let Some(problem) = TlsProblem::find_in(error) {
        return problem.to_string();
    }
    let is_other_protocol = causes(error).any(is_other_protocol);
    let text = error_chain(error);
    if is_other_protocol {
        format!("the server speaks TLS or another protocol, not gRPC in plaintext ({text})")
    } else {
        text
    }
}

/// Returns whether this side found that the peer does not speak HTTP/2.
pub(super) fn is_other_protocol(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_library)
}

impl From<&rustls::Error> for TlsProblem {
    fn from(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(problem) => Self::from(problem),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::AlertReceived(alert) => Self::from(*alert),
            rustls::Error::InconsistentKeys(_) => Self::KeyMismatch,
            rustls::Error::PeerIncompatible(problem) => Self::Incompatible(format!("{problem:?}")),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<&CertificateError> for TlsProblem {
    fn from(problem: &CertificateError) -> Self {
        match problem {
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => Self::Nameless,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::NameMismatch,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::NotForServers,
            CertificateError::Other(other) if other.to_string() == CA_USED_AS_SERVER => Self::Authority,
            other => Self::Other(other.to_string()),
        }
    }
}

/// The server's reason for ending the handshake.
impl From<AlertDescription> for TlsProblem {
    fn from(alert: AlertDescription) -> Self {
        let text = format!("{alert:?}");
        match alert {
            alert if CERTIFICATE_ALERTS.contains(&alert) => Self::ClientCertificateRejected(text),
            AlertDescription::NoApplicationProtocol => Self::NoHttp2,
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => Self::Incompatible(text),
            _ => Self::Other(format!("the server ended the handshake: {text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_problem_is_found_inside_wrapping_errors() {
        let expired = || rustls::Error::InvalidCertificate(CertificateError::Expired);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, expired()));
        assert_eq!(TlsProblem::find_in(&expired()), Some(TlsProblem::Expired));
        assert_eq!(TlsProblem::find_in(&wrapped), Some(TlsProblem::Expired));
        let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert_eq!(TlsProblem::find_in(&closed), Some(TlsProblem::HandshakeCut));
        assert_eq!(TlsProblem::find_in(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
        assert_eq!(TlsProblem::find_in(&io::Error::other(NO_HTTP2)), Some(TlsProblem::NoHttp2));
        let rejected = io::Error::other("connection error: received fatal alert: CertificateUnknown");
        let expected = TlsProblem::ClientCertificateRejected("CertificateUnknown".into());
        assert_eq!(TlsProblem::find_in(&rejected), Some(expected));
    }

    #[test]
    fn only_certificate_alerts_blame_the_client_certificate() {
        use AlertDescription as Alert;
        let problem = |alert| TlsProblem::from(&rustls::Error::AlertReceived(alert));
        for alert in [Alert::CertificateRequired, Alert::UnknownCA, Alert::CertificateExpired, Alert::AccessDenied] {
            assert_eq!(problem(alert), TlsProblem::ClientCertificateRejected(format!("{alert:?}")));
        }
        for alert in [Alert::ProtocolVersion, Alert::HandshakeFailure] {
            assert_eq!(problem(alert), TlsProblem::Incompatible(format!("{alert:?}")));
        }
        assert_eq!(problem(Alert::NoApplicationProtocol), TlsProblem::NoHttp2);
        assert_eq!(
            problem(Alert::InternalError).to_string(),
            "TLS failed: the server ended the handshake: InternalError"
        );
    }
}
