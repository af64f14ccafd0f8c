//! The roots of one trust domain or DNS name.
//!
//! webpki does not look at the validity of a root. So the roots that are valid at a time have a verifier, which is replaced when a root
//! becomes valid or expires. A root outside its validity stays loaded: SPIFFE publishes the next root early.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertRevocationListError, CertificateError, RootCertStore};

use super::certificate;
use super::files::{Files, TlsError};
use super::revocations::Revocations;
use super::window::{Window, text};

/// The roots, and the certificates that their CAs have revoked.
#[derive(Debug)]
pub(super) struct Roots {
    path: PathBuf,
    all: Vec<Root>,
    revocations: Option<Revocations>,
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
    anchors: Vec<TrustAnchor<'static>>,
}

impl Roots {
    pub(super) fn load(
        path: &Path,
        crl: Option<&PathBuf>,
        files: &Files,
        provider: &Arc<CryptoProvider>,
        last: Option<&Self>,
    ) -> Result<Self, TlsError> {
        let certificates = files.certificates(path)?;
        let last = last.and_then(|last| last.revocations.as_ref());
        let revocations = crl.map(|crl| Revocations::load(crl, files, &certificates, last)).transpose()?;
        let mut all = Vec::with_capacity(certificates.len());
        for (index, certificate) in certificates.into_iter().enumerate() {
            let unusable = |problem: &str| TlsError::new(path, format!("certificate {} {problem}", index + 1));
            certificate::check_root(&certificate).map_err(unusable)?;
            let added = RootCertStore::empty().add(certificate.clone());
            added.map_err(|error| unusable(&format!("cannot be used: {error}")))?;
            let validity = certificate::validity(&certificate).map_err(|error| unusable(&error.to_string()))?;
            all.push(Root { certificate, validity });
        }
        let never = ValidRoots { window: Window { from: 0, until: 0 }, verifier: None, anchors: Vec::new() };
        let current = ArcSwap::from_pointee(never);
        let roots = Self { path: path.to_owned(), all, revocations, provider: Arc::clone(provider), current };
        // Builds it with all roots, so that each is known to be usable at its time.
        let unusable = |error| TlsError::new(path, format!("holds no usable roots: {error}"));
        roots.verifier(store(roots.all.iter())).map_err(unusable)?;
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
        verifier.verify_client_cert(leaf, intermediates, now)?;
        let Some(revocations) = &self.revocations else { return Ok(()) };
        revocations.check(leaf, intermediates, &valid.anchors, now).map_err(|error| match error {
            webpki::Error::CertRevoked => CertificateError::Revoked.into(),
            webpki::Error::InvalidCrlSignatureForPublicKey => CertRevocationListError::BadSignature.into(),
            _ => CertificateError::UnknownIssuer.into(),
        })
    }

    /// Returns the window around a second in which no root becomes valid or expires.
    pub(super) fn window(&self, second: u64) -> Window {
        let boundaries = self.all.iter().flat_map(|root| [root.validity.from, root.validity.until]);
        Window::around(second, boundaries)
    }

    /// Returns each root outside its validity.
    pub(super) fn outside_validity(&self, now: u64) -> Vec<TlsError> {
        let outside = self.all.iter().enumerate().filter_map(|(index, Root { validity, .. })| {
            let problem = match validity {
                _ if validity.contains(now) => return None,
                Window { from, .. } if now < *from => format!("is not valid until {}", text(*from)),
                Window { until, .. } => format!("has expired, at {}", text(until.saturating_sub(1))),
            };
            let text = format!("certificate {} {problem}; it vouches for no client", index + 1);
            Some(TlsError::new(&self.path, text))
        });
        outside.collect()
    }

    /// Returns the time from which none of the roots is valid any more, in seconds since 1970.
    pub(super) fn last_end(&self) -> Option<u64> {
        self.all.iter().map(|root| root.validity.until).max()
    }

    pub(super) fn revocations(&self) -> Option<&Revocations> {
        self.revocations.as_ref()
    }

    fn valid_at(&self, second: u64) -> Arc<ValidRoots> {
        let current = self.current.load_full();
        if current.window.contains(second) {
            return current;
        }
        let valid = self.all.iter().filter(|root| root.validity.contains(second));
        let store = store(valid);
        let anchors = store.roots.clone();
        // `load` has built it with every root, so that it fails only without any.
        let new = Arc::new(ValidRoots { window: self.window(second), verifier: self.verifier(store).ok(), anchors });
        self.current.store(Arc::clone(&new));
        new
    }

    fn verifier(&self, store: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&self.provider)).build()
    }
}

/// `Roots::load` has added each root before, so that none is left out.
fn store<'a>(roots: impl Iterator<Item = &'a Root>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.map(|root| root.certificate.clone()));
    store
}
