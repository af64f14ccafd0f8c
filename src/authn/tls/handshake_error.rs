//! Errors of handshakes.

use std::error::Error;
use std::io;

use super::certificate::CertificateError;

/// Returns whether a handshake failed because of the certificate that the client presented.
#[must_use]
pub fn is_about_a_certificate(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| {
        inner.is::<CertificateError>() || matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
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
