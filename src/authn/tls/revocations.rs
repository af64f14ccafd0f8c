//! Certificate revocation lists of the CAs that sign clients.
//!
//! webpki uses the first list with an issuer's name, whatever its age and key. So the broker looks for the certificates of a verified
//! path itself: in the newest lists that the issuer's key has signed. A list past its nextUpdate stays in force: it still names
//! certificates that must not be accepted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{Cert, EndEntityCert, Error, KeyUsage, VerifiedPath, spki_for_anchor};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::files::{Files, TlsError};
use super::revocation_list::List;
use super::window::text;

/// Lists of one file.
#[derive(Debug)]
pub(super) struct Revocations {
    path: PathBuf,
    lists: Vec<Arc<List>>,
    /// The places of lists with the name of a root, and the signature of none.
    foreign: Vec<String>,
    /// Why the file's current contents are not used, but its last good ones.
    rejected: Option<TlsError>,
}

impl Revocations {
    /// Reads the lists. If the file is broken, the `last` good lists are kept, so that a change of the roots takes effect.
    pub(super) fn load(
        path: &Path,
        files: &Files,
        roots: &[CertificateDer<'_>],
        last: Option<&Self>,
    ) -> Result<Self, TlsError> {
        let (lists, rejected) = match (read(path, files, roots), last) {
            (Ok(lists), _) => (lists, None),
            (Err(error), Some(last)) => (last.lists.clone(), Some(error)),
            (Err(error), None) => return Err(error),
        };
        let is_foreign = |list: &&Arc<List>| sign(list, roots) == Signature::OtherKey;
        let foreign = lists.iter().filter(is_foreign).map(|list| list.place()).collect();
        Ok(Self { path: path.to_owned(), lists, foreign, rejected })
    }

    /// Returns why the file's current contents are not used.
    pub(super) fn rejected(&self) -> Option<&TlsError> {
        self.rejected.as_ref()
    }

    /// Checks that a verified chain has a path to a root on which no certificate is revoked.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        roots: &[TrustAnchor<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let leaf = EndEntityCert::try_from(leaf)?;
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let check = |path: &VerifiedPath<'_>| self.check_path(path);
        let usage = KeyUsage::client_auth();
        leaf.verify_for_usage(algorithms.all, roots, intermediates, now, usage, None, Some(&check)).map(drop)
    }

    /// Returns the first time by which a list should be replaced, in seconds since 1970.
    pub(super) fn first_next_update(&self) -> Option<u64> {
        self.in_force().filter_map(List::next_update).min()
    }

    /// Returns each list that should have been replaced.
    pub(super) fn stale(&self, now: u64) -> impl Iterator<Item = TlsError> {
        let stale = move |list: &List| {
            let next = list.next_update().filter(|next| now > *next)?;
            let (place, next) = (list.place(), text(next));
            Some(format!("{place} is past its nextUpdate, {next}; it stays in force; get a newer one from the CA"))
        };
        self.in_force().filter_map(move |list| Some(TlsError::new(&self.path, stale(list)?)))
    }

    /// Returns each list with the name of a root that is not a root's, such as that of a root which is no longer configured.
    pub(super) fn foreign(&self) -> impl Iterator<Item = TlsError> {
        let text = |place: &String| format!("{place} has the name of a root, and another key's signature; remove it");
        self.foreign.iter().map(move |place| TlsError::new(&self.path, text(place)))
    }

    /// Returns the lists that no newer one replaces.
    fn in_force(&self) -> impl Iterator<Item = &List> {
        self.lists.iter().map(AsRef::as_ref).filter(|list| !self.lists.iter().any(|other| other.replaces(list)))
    }

    fn check_path(&self, path: &VerifiedPath<'_>) -> Result<(), Error> {
        let mut certificate: &Cert<'_> = path.end_entity();
        for issuer in path.intermediate_certificates() {
            let key = issuer.subject_public_key_info();
            self.check_certificate(certificate, &key)?;
            self.check_intermediate(certificate.issuer(), &key)?;
            certificate = issuer;
        }
        self.check_certificate(certificate, &spki_for_anchor(path.anchor()))
    }

    /// Looks for a certificate in the newest lists of its issuer's key. A key without a list has revoked nothing.
    fn check_certificate(&self, certificate: &Cert<'_>, key: &[u8]) -> Result<(), Error> {
        let named = self.lists.iter().filter(|list| list.is_of(certificate.issuer()));
        let own: Vec<_> = named.filter(|list| list.is_signed_by(key)).collect();
        let mut in_force = own.iter().filter(|list| !own.iter().any(|other| other.replaces(list)));
        if in_force.any(|list| list.revokes(certificate.serial())) { Err(Error::CertRevoked) } else { Ok(()) }
    }

    /// Refuses an intermediate if the file has lists of its name, and none of its key. One of them can be its own, and broken.
    fn check_intermediate(&self, name: &[u8], key: &[u8]) -> Result<(), Error> {
        let mut named = self.lists.iter().filter(|list| list.is_of(name)).peekable();
        let is_known = named.peek().is_none() || named.any(|list| list.is_signed_by(key));
        if is_known { Ok(()) } else { Err(Error::InvalidCrlSignatureForPublicKey) }
    }
}

/// Reads the lists of a file. Each in the name of a root must have a root's signature, or name a key that is none of these roots'.
fn read(path: &Path, files: &Files, roots: &[CertificateDer<'_>]) -> Result<Vec<Arc<List>>, TlsError> {
    let mut lists = Vec::new();
    for (index, der) in files.revocation_lists(path)?.into_iter().enumerate() {
        let unusable = |problem: String| TlsError::new(path, format!("revocation list {} {problem}", index + 1));
        let list = List::read(index, der).map_err(unusable)?;
        if sign(&list, roots) == Signature::Wrong {
            return Err(unusable("has the name of a root, but not its signature; get it from the CA again".to_owned()));
        }
        lists.push(Arc::new(list));
    }
    Ok(lists)
}

#[derive(Debug, PartialEq, Eq)]
enum Signature {
    /// A root's, or the list has the name of no root: then the intermediates of a path are asked.
    Plausible,
    /// The list names a key that none of the roots of its name has.
    OtherKey,
    Wrong,
}

/// Finds the root that has signed a list. A list in the name of a root is wrong if it has another signature, unless it names another
/// key: roots of one name follow each other, and an intermediate can have a root's name.
fn sign(list: &List, roots: &[CertificateDer<'_>]) -> Signature {
    let parsed = roots.iter().filter_map(|root| Some(X509Certificate::from_der(root).ok()?.1));
    let named: Vec<_> = parsed.filter(|root| list.is_named_like(root)).collect();
    if named.is_empty() || named.iter().any(|root| list.is_signed_by(root.public_key().raw)) {
        Signature::Plausible
    } else if named.iter().all(|root| list.names_another_key(root)) {
        Signature::OtherKey
    } else {
        Signature::Wrong
    }
}
