//! The roots of one trust domain or DNS name.
//!
//! webpki does not look at the validity of a root. So the roots that are valid at a time have a verifier, which is replaced when a root
//! becomes valid or expires. A root outside its validity stays loaded: SPIFFE publishes the next root early.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore};

use super::certificate;
use super::files::{Files, TlsError};
use super::revocations::Revocations;
use super::window::{Window, text};

/// The roots, and the certificates that their CAs have revoked.
#[derive(Debug)]
pub(super) struct Roots {
    path: PathBuf,
    all: Vec<Root>,
    revocations: Option<(PathBuf, Revocations)>,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<ValidRoots>,
}

#[derive(Debug)]
struct Root {
    certificate: CertificateDer<'static>,
    validity: Window,
}

/// The verifier of the roots that are valid in a window; `None` if none is.
#[derive(Debug)]
struct ValidRoots {
    window: Window,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Roots {
    pub(super) fn load(
        path: &Path,
        crl: Option<&PathBuf>,
        files: &Files,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let certificates = files.certificates(path)?;
        let revocations = match crl {
            Some(crl) => Some((crl.clone(), Revocations::load(crl, files, &certificates)?)),
            None => None,
        };
        let mut all = Vec::with_capacity(certificates.len());
        for (index, certificate) in certificates.into_iter().enumerate() {
            let unusable = |problem: &str| TlsError::new(path, format!("certificate {} {problem}", index + 1));
            certificate::check_root(&certificate).map_err(unusable)?;
            let added = RootCertStore::empty().add(certificate.clone());
            added.map_err(|error| unusable(&format!("cannot be used: {error}")))?;
            let validity = certificate::validity(&certificate).map_err(|error| unusable(&error.to_string()))?;
            all.push(Root { certificate, validity });
        }
        let never = ValidRoots { window: Window { from: 0, until: 0 }, verifier: None };
        let current = ArcSwap::from_pointee(never);
        let roots = Self { path: path.to_owned(), all, revocations, provider: Arc::clone(provider), current };
        // Builds it with all roots, so that each is known to be usable at its time.
        roots.verifier(roots.all.iter()).map_err(|error| roots.unusable(&error))?;
        Ok(roots)
    }

    /// Verifies a chain with the roots that are valid at `now`.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let valid = self.valid_at(now.as_secs());
        let Some(verifier) = &valid.verifier else { return Err(CertificateError::UnknownIssuer.into()) };
        verifier.verify_client_cert(leaf, intermediates, now).map(drop)
    }

    /// Returns the window around a second in which no root becomes valid or expires.
    pub(super) fn window(&self, second: u64) -> Window {
        let boundaries = self.all.iter().flat_map(|root| [root.validity.from, root.validity.until]);
        Window::around(second, boundaries)
    }

    /// Returns each root outside its validity, and each revocation list past its time.
    pub(super) fn mistakes(&self, now: u64) -> Vec<TlsError> {
        let outside = self.all.iter().enumerate().filter_map(|(index, Root { validity, .. })| {
            let problem = match validity {
                _ if validity.contains(now) => return None,
                Window { from, .. } if now < *from => format!("is not valid until {}", text(*from)),
                Window { until, .. } => format!("has expired, at {}", text(until.saturating_sub(1))),
            };
            let text = format!("certificate {} {problem}; it vouches for no client", index + 1);
            Some(TlsError::new(&self.path, text))
        });
        let stale = self
            .revocations
            .iter()
            .flat_map(|(path, revocations)| revocations.mistakes(now).map(|mistake| TlsError::new(path, mistake)));
        outside.chain(stale).collect()
    }

    fn valid_at(&self, second: u64) -> Arc<ValidRoots> {
        let current = self.current.load_full();
        if current.window.contains(second) {
            return current;
        }
        let valid = self.all.iter().filter(|root| root.validity.contains(second));
        // `load` has built it with every root, so that it fails only without any.
        let new = Arc::new(ValidRoots { window: self.window(second), verifier: self.verifier(valid).ok() });
        self.current.store(Arc::clone(&new));
        new
    }

    fn verifier<'a>(
        &self,
        roots: impl Iterator<Item = &'a Root>,
    ) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        let mut store = RootCertStore::empty();
        // `load` has added each, so that none is left out.
        store.add_parsable_certificates(roots.map(|root| root.certificate.clone()));
        let lists = self.revocations.iter().flat_map(|(_, revocations)| revocations.lists());
        WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&self.provider))
            .with_crls(lists)
            // A CA without a list has revoked nothing.
            .allow_unknown_revocation_status()
            .build()
    }

    /// Names the file that the verifier cannot use.
    fn unusable(&self, error: &VerifierBuilderError) -> TlsError {
        match (error, &self.revocations) {
            (VerifierBuilderError::InvalidCrl(_), Some((path, _))) => {
                TlsError::new(path, format!("cannot be used: {error}"))
            }
            _ => TlsError::new(&self.path, format!("holds no usable roots: {error}")),
        }
    }
}
