//! What a client certificate says of its holder. Nothing is believed here: the chain is verified by whom this names.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use spiffe::SpiffeId;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::caller::{Caller, DnsName};

/// Whom a certificate names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A workload.
    Spiffe(Arc<SpiffeId>),
    /// A host, by any of these names.
    Dns(Vec<DnsName>),
}

/// Why a client certificate is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("the client certificate is not well-formed")]
    Malformed,
    #[error("the client certificate is a certificate authority's own, or may sign others; take one for a workload")]
    Authority,
    #[error("the client certificate's key usage has no digitalSignature, which one for a workload must have")]
    NotForSigning,
    #[error("the client certificate names several URIs; a SPIFFE certificate has one")]
    SeveralUris,
    #[error(
        "the client certificate's URI is no SPIFFE id of a workload, such as spiffe://prod.example/ns/ci/sa/runner"
    )]
    NotSpiffe,
    #[error("the client certificate names neither a SPIFFE id nor a host (subject alternative name)")]
    Nameless,
    #[error("authentication.client_ca has no roots of the trust domain {0}")]
    StrangeTrustDomain(String),
    #[error("authentication.client_dns has none of the client certificate's DNS names")]
    StrangeHost,
    #[error(
        "authentication.client_dns has several of the client certificate's DNS names, and it is one caller; leave one there"
    )]
    SeveralHosts,
}

/// Reads a certificate of a workload or host.
pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Subject, CertificateError> {
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    if !rest.is_empty() {
        return Err(CertificateError::Malformed);
    }
    check_usage(&parsed)?;
    subject(&parsed)
}

/// What a root has to be: any other certificate would be taken for one, and a leaf's own key could sign for a whole trust domain.
pub(super) fn check_root(certificate: &CertificateDer<'_>) -> Result<(), &'static str> {
    let broken = "is not well-formed";
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| broken)?;
    let constraints = parsed.basic_constraints().map_err(|_| broken)?;
    let usage = parsed.key_usage().map_err(|_| broken)?;
    let is_authority = constraints.is_some_and(|constraints| constraints.value.ca)
        && usage.is_none_or(|usage| usage.value.key_cert_sign());
    if is_authority { Ok(()) } else { Err("is no authority's: it may not sign others") }
}

/// X.509-SVID, sections 4.1 and 4.3.
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

/// A URI is never passed over for a DNS name beside it.
fn subject(certificate: &X509Certificate<'_>) -> Result<Subject, CertificateError> {
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    // One that cannot be read might be a URI.
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(CertificateError::Malformed);
    }
    let uris: Vec<_> =
        names.iter().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None }).collect();
    match uris.as_slice() {
        [] => {}
        [uri] => match Caller::spiffe(uri) {
            Some(Caller::Spiffe(id)) => return Ok(Subject::Spiffe(id)),
            _ => return Err(CertificateError::NotSpiffe),
        },
        _ => return Err(CertificateError::SeveralUris),
    }
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => name.to_ascii_lowercase().parse().ok(),
        _ => None,
    };
    let hosts: Vec<DnsName> = names.iter().filter_map(host).collect();
    if hosts.is_empty() { Err(CertificateError::Nameless) } else { Ok(Subject::Dns(hosts)) }
}

/// The end of a certificate.
pub(super) fn end_of(certificate: &CertificateDer<'_>) -> Result<SystemTime, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).map_err(|_| CertificateError::Malformed)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(CertificateError::Malformed)
}
