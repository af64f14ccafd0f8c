//! Errors of handshakes.

use std::error::Error;
use std::io;

use rustls::CertificateError as Invalid;

use super::certificate::CertificateError;

/// Returns what is wrong with the certificate that the client presented; `None` if a handshake failed for another reason. The texts
/// are constants, so that no peer can make up problems.
#[must_use]
pub fn certificate_problem(error: &io::Error) -> Option<&'static str> {
    let inner = error.get_ref()?;
    if let Some(own) = inner.downcast_ref::<CertificateError>() {
        return Some(own.problem());
    }
    let rustls::Error::InvalidCertificate(error) = inner.downcast_ref()? else { return None };
    Some(match error {
        Invalid::Expired | Invalid::ExpiredContext { .. } => "client certificate has expired",
        Invalid::NotValidYet | Invalid::NotValidYetContext { .. } => "client certificate is not valid yet",
        Invalid::Revoked => "client certificate is revoked",
        Invalid::UnknownIssuer => "client certificate has an unknown issuer",
        Invalid::BadSignature => "client certificate has a bad signature",
        _ => "client certificate is invalid",
    })
}

/// Unwraps the error of the broker's verifier, or of webpki, where rustls would print it in Debug form.
pub(super) fn unwrap_own(error: io::Error) -> io::Error {
    let Some(other) = other(&error) else { return error };
    let own = other.downcast_ref().cloned();
    io::Error::other(own.unwrap_or_else(|| CertificateError::Invalid(other.to_string())))
}

fn other(error: &io::Error) -> Option<&(dyn Error + Send + Sync + 'static)> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(rustls::OtherError(other))) => Some(&**other),
        _ => None,
    }
}
