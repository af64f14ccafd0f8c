//! Names in client certificates. Nothing here is verified yet: the names decide which roots must have signed the chain.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use spiffe::SpiffeId;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::window::Window;
use crate::caller::{Caller, DnsName};

/// The subject of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A workload.
    Spiffe(Arc<SpiffeId>),
    /// A host, with all its names.
    Dns(Vec<DnsName>),
}

/// Why a client certificate is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("client certificate is malformed")]
    Malformed,
    #[error("client certificate is a CA certificate, or may sign others; use a certificate for a workload")]
    Authority,
    #[error("client certificate has no key usage digitalSignature; use a certificate for a workload")]
    NotForSigning,
    #[error("client certificate has several URIs; a SPIFFE certificate has one")]
    SeveralUris,
    #[error(
        "client certificate URI is not a workload's SPIFFE ID; expected a form like spiffe://prod.example/ns/ci/sa/runner"
    )]
    NotSpiffe,
    #[error("client certificate has neither a SPIFFE ID nor a DNS name; add a subject alternative name")]
    Nameless,
    #[error("client certificate trust domain {0} is not in authentication.client_ca")]
    UnknownTrustDomain(String),
    #[error("client certificate has no DNS name that authentication.client_dns lists")]
    UnknownHost,
    #[error(
        "client certificate was signed by an intermediate without key usage keyCertSign; use another CA certificate"
    )]
    IntermediateMayNotSign,
    #[error("client certificate is invalid: {0}")]
    Invalid(String),
    #[error("client certificate has several DNS names that authentication.client_dns lists; keep only one in the list")]
    SeveralHosts,
}

impl CertificateError {
    /// Returns the problem without what the peer chose.
    pub(super) fn problem(&self) -> &'static str {
        match self {
            Self::Malformed => "client certificate is malformed",
            Self::Authority => "client certificate may sign others",
            Self::NotForSigning => "client certificate has no key usage digitalSignature",
            Self::SeveralUris => "client certificate has several URIs",
            Self::NotSpiffe => "client certificate URI is not a SPIFFE ID of a workload",
            Self::Nameless => "client certificate has no name",
            Self::UnknownTrustDomain(_) => "client certificate trust domain is not accepted",
            Self::UnknownHost => "client certificate DNS name is not accepted",
            Self::SeveralHosts => "client certificate has several accepted DNS names",
            Self::IntermediateMayNotSign => "client certificate has an intermediate that may not sign",
            Self::Invalid(_) => "client certificate is invalid",
        }
    }
}

/// Reads the subject of a certificate for a workload or a host.
pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Subject, CertificateError> {
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    if !rest.is_empty() {
        return Err(CertificateError::Malformed);
    }
    check_usage(&parsed)?;
    subject(&parsed)
}

/// Checks that a root is a CA certificate. With a leaf among the roots, its key could sign for a whole trust domain.
pub(super) fn check_root(certificate: &CertificateDer<'_>) -> Result<(), &'static str> {
    let malformed = "is malformed";
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| malformed)?;
    let constraints = parsed.basic_constraints().map_err(|_| malformed)?;
    let usage = parsed.key_usage().map_err(|_| malformed)?;
    let is_authority = constraints.is_some_and(|constraints| constraints.value.ca)
        && usage.is_none_or(|usage| usage.value.key_cert_sign());
    if is_authority {
        Ok(())
    } else {
        Err("is not a CA certificate: it may not sign others; name the certificate of the CA that signs the callers")
    }
}

/// Returns the expiry time of a certificate.
pub(super) fn expiry(certificate: &CertificateDer<'_>) -> Result<SystemTime, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).map_err(|_| CertificateError::Malformed)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(CertificateError::Malformed)
}

/// Returns the seconds in which a certificate is valid. The second of its expiry belongs to them.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Result<Window, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let second = |time: ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    let (from, last) = (second(parsed.validity().not_before), second(parsed.validity().not_after));
    Ok(Window { from, until: last.saturating_add(1) })
}

/// Returns whether an intermediate may sign certificates: its key usage says so, or it has none. webpki does not look at it.
pub(super) fn may_sign_others(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    parsed.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

/// Checks the usage of a leaf: X.509-SVID, sections 4.1 and 4.3.
fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let constraints = certificate.basic_constraints().map_err(|_| CertificateError::Malformed)?;
    let usage = certificate.key_usage().map_err(|_| CertificateError::Malformed)?;
    let usage = usage.ok_or(CertificateError::NotForSigning)?.value;
    if constraints.is_some_and(|constraints| constraints.value.ca) || usage.key_cert_sign() || usage.crl_sign() {
        return Err(CertificateError::Authority);
    }
    if !usage.digital_signature() {
        return Err(CertificateError::NotForSigning);
    }
    Ok(())
}

/// Returns the SPIFFE ID, or without any URI the DNS names. A URI always wins over DNS names beside it.
fn subject(certificate: &X509Certificate<'_>) -> Result<Subject, CertificateError> {
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    // An unreadable name might be a URI.
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(CertificateError::Malformed);
    }
    let uris: Vec<_> = names.iter().filter_map(uri).collect();
    match uris.as_slice() {
        [] => {
            let hosts: Vec<_> = names.iter().filter_map(host).collect();
            if hosts.is_empty() { Err(CertificateError::Nameless) } else { Ok(Subject::Dns(hosts)) }
        }
        [uri] => match Caller::spiffe(uri) {
            Some(Caller::Spiffe(id)) => Ok(Subject::Spiffe(id)),
            _ => Err(CertificateError::NotSpiffe),
        },
        _ => Err(CertificateError::SeveralUris),
    }
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::URI(uri) => Some(uri),
        _ => None,
    }
}

fn host(name: &GeneralName<'_>) -> Option<DnsName> {
    match name {
        GeneralName::DNSName(name) => name.to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}
