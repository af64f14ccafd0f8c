//! Verification of client certificates, each only by the roots of its trust domain or DNS name.
//!
//! With all roots in one store, any authority in it could sign for every subject.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme};
use spiffe::TrustDomain;

use super::certificate::{self, CertificateError, Subject};
use super::files::{Files, TlsError};
use super::settings::Settings;
use crate::caller::{Caller, DnsName};

type Roots = Arc<dyn ClientCertVerifier>;

/// Verifies client certificates.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    trust_domains: BTreeMap<TrustDomain, Roots>,
    dns_names: BTreeMap<DnsName, Roots>,
}

impl Verifier {
    pub(super) fn new(settings: &Settings, files: &Files, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        Ok(Self {
            provider: Arc::clone(provider),
            trust_domains: all_roots(&settings.trust_domains, files, provider)?,
            dns_names: all_roots(&settings.dns_names, files, provider)?,
        })
    }

    /// Returns the caller that a verified certificate names.
    pub(super) fn caller(&self, leaf: &CertificateDer<'_>) -> Result<Caller, CertificateError> {
        self.find(certificate::read(leaf)?).map(|(caller, _)| caller)
    }

    /// Returns the caller that a subject claims to be, and the roots that must have signed its certificate.
    fn find(&self, subject: Subject) -> Result<(Caller, &Roots), CertificateError> {
        match subject {
            Subject::Spiffe(id) => {
                let roots = self.trust_domains.iter().find(|(domain, _)| id.is_member_of(domain));
                let unknown = || CertificateError::UnknownTrustDomain(id.trust_domain_name().to_owned());
                roots.map(|(_, roots)| (Caller::Spiffe(Arc::clone(&id)), roots)).ok_or_else(unknown)
            }
            Subject::Dns(names) => {
                let mut known = self.dns_names.iter().filter(|(name, _)| names.contains(name));
                match (known.next(), known.next()) {
                    (Some((name, roots)), None) => Ok((Caller::Dns(name.clone()), roots)),
                    (None, _) => Err(CertificateError::UnknownHost),
                    (Some(_), Some(_)) => Err(CertificateError::SeveralHosts),
                }
            }
        }
    }
}

fn all_roots<K: Ord + Clone>(
    files_of: &BTreeMap<K, PathBuf>,
    files: &Files,
    provider: &Arc<CryptoProvider>,
) -> Result<BTreeMap<K, Roots>, TlsError> {
    files_of.iter().map(|(name, path)| Ok((name.clone(), roots(path, files, provider)?))).collect()
}

fn roots(path: &Path, files: &Files, provider: &Arc<CryptoProvider>) -> Result<Roots, TlsError> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in files.certificates(path)?.into_iter().enumerate() {
        let unusable = |problem: String| TlsError::new(path, format!("certificate {} {problem}", index + 1));
        certificate::check_root(&certificate).map_err(|problem| unusable(problem.to_owned()))?;
        store.add(certificate).map_err(|error| unusable(format!("cannot be used: {error}")))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider)).build();
    verifier.map_err(|error| TlsError::new(path, format!("holds no usable roots: {error}")))
}

/// Wraps a [`CertificateError`] for rustls, so that the log says why a handshake failed.
fn rejected(error: CertificateError) -> rustls::Error {
    rustls::Error::InvalidCertificate(rustls::CertificateError::Other(OtherError(Arc::new(error))))
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        !self.trust_domains.is_empty() || !self.dns_names.is_empty()
    }

    /// Returns `false`: peers without a certificate must get an error that says what to present, and can read the broker's health.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Returns no hints, so that the handshake does not disclose the roots.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let subject = certificate::read(end_entity).map_err(rejected)?;
        let (_, roots) = self.find(subject).map_err(rejected)?;
        roots.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
