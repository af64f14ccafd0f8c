//! Certificate revocation lists of the CAs that sign clients.
//!
//! webpki checks them for every certificate of a path, with the signature of each list. A list past its nextUpdate stays in force: it
//! still names certificates that must not be accepted.

use std::path::Path;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::files::{Files, TlsError};
use super::window::text;

/// Lists of one file.
#[derive(Debug)]
pub(super) struct Revocations {
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// The seconds since 1970 by which the CA promises each next list.
    next_updates: Vec<Option<u64>>,
}

impl Revocations {
    /// Reads the lists. A list of one of these roots must have that root's signature: with another, no certificate of the root would
    /// be accepted.
    pub(super) fn load(path: &Path, files: &Files, roots: &[CertificateDer<'_>]) -> Result<Self, TlsError> {
        let lists = files.revocation_lists(path)?;
        let mut next_updates = Vec::with_capacity(lists.len());
        for (index, list) in lists.iter().enumerate() {
            let unusable = |problem: &str| TlsError::new(path, format!("revocation list {} {problem}", index + 1));
            let (_, parsed) = CertificateRevocationList::from_der(list).map_err(|_| unusable("is malformed"))?;
            if !is_signed(&parsed, roots) {
                return Err(unusable("has the name of a root, but not its signature; get it from the CA again"));
            }
            next_updates.push(parsed.next_update().map(|time| u64::try_from(time.timestamp()).unwrap_or(0)));
        }
        Ok(Self { lists, next_updates })
    }

    pub(super) fn lists(&self) -> impl Iterator<Item = CertificateRevocationListDer<'static>> {
        self.lists.iter().cloned()
    }

    /// Returns each list that should have been replaced.
    pub(super) fn mistakes(&self, now: u64) -> impl Iterator<Item = String> {
        let stale = move |(index, next): (usize, &Option<u64>)| {
            let next = next.filter(|next| now > *next)?;
            Some(format!(
                "revocation list {} is past its nextUpdate, {}; it stays in force; get a newer one from the CA",
                index + 1,
                text(next)
            ))
        };
        self.next_updates.iter().enumerate().filter_map(stale)
    }
}

/// Returns whether a root with the issuer's name has signed the list, or no root has that name: then an intermediate must have.
fn is_signed(list: &CertificateRevocationList<'_>, roots: &[CertificateDer<'_>]) -> bool {
    let parsed = roots.iter().filter_map(|root| X509Certificate::from_der(root).ok());
    let mut named = parsed.filter(|(_, root)| root.subject().as_raw() == list.issuer().as_raw()).peekable();
    named.peek().is_none() || named.any(|(_, root)| list.verify_signature(root.public_key()).is_ok())
}
