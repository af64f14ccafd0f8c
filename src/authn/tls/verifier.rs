//! Verification of client certificates, each only by the roots of its trust domain or DNS name.
//!
//! With all roots in one store, any authority in it could sign for every subject.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use spiffe::TrustDomain;

use super::certificate::{self, CertificateError, Subject};
use super::files::{Files, TlsError};
use super::revocations::Revocations;
use super::roots::Roots;
use super::settings::Settings;
use super::window::{Window, seconds};
use crate::caller::{Caller, DnsName};

/// Verifies client certificates.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    trust_domains: BTreeMap<TrustDomain, Roots>,
    dns_names: BTreeMap<DnsName, Roots>,
}

impl Verifier {
    /// Builds it from the files, and where a revocation list is broken, from the `last` good one.
    pub(super) fn new(
        settings: &Settings,
        files: &Files,
        provider: &Arc<CryptoProvider>,
        last: Option<&Self>,
    ) -> Result<Self, TlsError> {
        let load = |name: String, path: &Path, last: Option<&Roots>| {
            Roots::load(path, settings.revocations.get(&name), files, provider, last)
        };
        Ok(Self {
            provider: Arc::clone(provider),
            trust_domains: all_roots(&settings.trust_domains, last.map(|last| &last.trust_domains), load)?,
            dns_names: all_roots(&settings.dns_names, last.map(|last| &last.dns_names), load)?,
        })
    }

    /// Returns the caller that a verified certificate names.
    pub(super) fn caller(&self, leaf: &CertificateDer<'_>) -> Result<Caller, CertificateError> {
        self.find(certificate::read(leaf)?).map(|(caller, _)| caller)
    }

    /// Returns the window around a second in which the outcome of a verification does not change by the validity of roots.
    pub(super) fn window(&self, leaf: &CertificateDer<'_>, second: u64) -> Result<Window, CertificateError> {
        self.find(certificate::read(leaf)?).map(|(_, roots)| roots.window(second))
    }

    /// Returns each root outside its validity.
    pub(super) fn roots_outside_validity(&self, now: SystemTime) -> Vec<TlsError> {
        once(self.roots().flat_map(|roots| roots.outside_validity(seconds(now))))
    }

    /// Returns when the first trust domain or DNS name is left without a root, in seconds since 1970.
    pub(super) fn first_end_of_roots(&self) -> Option<u64> {
        self.roots().filter_map(Roots::last_end).min()
    }

    /// Returns the first time by which a revocation list should be replaced, in seconds since 1970.
    pub(super) fn first_next_update(&self) -> Option<u64> {
        self.revocations().filter_map(Revocations::first_next_update).min()
    }

    /// Returns each revocation list past its time.
    pub(super) fn stale_lists(&self, now: SystemTime) -> Vec<TlsError> {
        once(self.revocations().flat_map(|revocations| revocations.stale(seconds(now))))
    }

    /// Returns each revocation list that none of the roots of its name has signed.
    pub(super) fn foreign_lists(&self) -> Vec<TlsError> {
        once(self.revocations().flat_map(Revocations::foreign))
    }

    /// Returns why the current contents of a file of revocation lists are not used, for each such file.
    pub(super) fn rejected_lists(&self) -> Vec<TlsError> {
        once(self.revocations().filter_map(Revocations::rejected).cloned())
    }

    fn revocations(&self) -> impl Iterator<Item = &Revocations> {
        self.roots().filter_map(Roots::revocations)
    }

    fn roots(&self) -> impl Iterator<Item = &Roots> {
        self.trust_domains.values().chain(self.dns_names.values())
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

fn all_roots<K: Ord + Clone + ToString>(
    files_of: &BTreeMap<K, PathBuf>,
    last: Option<&BTreeMap<K, Roots>>,
    load: impl Fn(String, &Path, Option<&Roots>) -> Result<Roots, TlsError>,
) -> Result<BTreeMap<K, Roots>, TlsError> {
    let load = |(name, path): (&K, &PathBuf)| {
        let last = last.and_then(|last| last.get(name));
        Ok((name.clone(), load(name.to_string(), path, last)?))
    };
    files_of.iter().map(load).collect()
}

/// Returns each error once: names can share their files.
fn once(errors: impl Iterator<Item = TlsError>) -> Vec<TlsError> {
    let by_text = errors.map(|error| (error.to_string(), error));
    by_text.collect::<BTreeMap<_, _>>().into_values().collect()
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
        let (signers, others): (Vec<_>, Vec<_>) =
            intermediates.iter().cloned().partition(|certificate| certificate::may_sign_others(certificate));
        match roots.verify(end_entity, &signers, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) if !others.is_empty() => {
                Err(rejected(CertificateError::IntermediateMayNotSign))
            }
            Err(error) => Err(error),
        }
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
