//! Settings of TLS.

use std::collections::BTreeMap;
use std::path::PathBuf;

use spiffe::TrustDomain;

use crate::caller::DnsName;

/// The broker's certificate, and the roots of its callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Certificate of the broker, and those between it and a root (PEM).
    pub certificate: PathBuf,
    /// Private key of the broker (PEM).
    pub key: PathBuf,
    /// Roots of each SPIFFE trust domain (PEM).
    pub trust_domains: BTreeMap<TrustDomain, PathBuf>,
    /// Roots of each DNS name (PEM). Certificates with no other DNS name are accepted.
    pub dns_names: BTreeMap<DnsName, PathBuf>,
    /// Revocation lists (PEM or DER) by the trust domain or DNS name whose roots they belong to.
    pub revocations: BTreeMap<String, PathBuf>,
}

impl Settings {
    /// Returns whether any client certificate can be accepted.
    #[must_use]
    pub fn knows_clients(&self) -> bool {
        self.roots().next().is_some()
    }

    /// Returns all files but the revocation lists.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.certificate, &self.key].into_iter().chain(self.roots())
    }

    fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        self.trust_domains.values().chain(self.dns_names.values())
    }
}
