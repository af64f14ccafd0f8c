//! Errors of handshakes.

use std::io;

use super::certificate::CertificateError;

/// Returns whether a handshake failed because of the certificate that the client presented.
#[must_use]
pub fn is_about_a_certificate(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| {
        inner.is::<CertificateError>() || matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
    })
}

/// Unwraps the error of the broker's verifier. rustls would print it in Debug form.
pub(super) fn unwrap_own(error: io::Error) -> io::Error {
    match own(&error) {
        Some(own) => io::Error::other(own.clone()),
        None => error,
    }
}

fn own(error: &io::Error) -> Option<&CertificateError> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(rustls::OtherError(own))) => {
            own.downcast_ref()
        }
        _ => None,
    }
}
