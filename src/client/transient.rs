//! Errors of a connection that may pass, told by their kinds.

use std::error::Error;
use std::io;

use super::error_chain::causes;
use super::tls_problem::{TlsProblem, is_other_protocol};

/// Returns whether a new connection may succeed after an error of the last one.
///
/// A name that does not resolve may pass too: an orchestrator answers NXDOMAIN for a service until the service runs.
pub(super) fn is_transient(error: &(dyn Error + 'static)) -> bool {
    TlsProblem::find_in(error).is_none_or(|problem| problem == TlsProblem::HandshakeCut)
        && !causes(error).any(is_permanent)
}

fn is_permanent(cause: &(dyn Error + 'static)) -> bool {
    is_other_protocol(cause) || cause.downcast_ref::<io::Error>().is_some_and(|io| is_permanent_kind(io.kind()))
}

/// `InvalidData` is also what a TLS stream reports when the server rejects the client's certificate after the handshake.
fn is_permanent_kind(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::PermissionDenied | Kind::InvalidInput | Kind::InvalidData | Kind::NotADirectory | Kind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_handshake_may_pass_and_a_wrong_certificate_does_not() {
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert!(is_transient(&cut));
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(!is_transient(&io::Error::new(io::ErrorKind::InvalidData, unknown)));
    }

    #[test]
    fn lookup_errors_may_pass() {
        assert!(is_transient(&io::Error::other("failed to lookup address information")));
    }
}
