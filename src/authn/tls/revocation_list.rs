//! One certificate revocation list, and the key that has signed it.

use std::collections::HashSet;
use std::sync::OnceLock;

use rustls::pki_types::CertificateRevocationListDer;
use webpki::{BorrowedCertRevocationList, CertRevocationList};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Any;
use x509_parser::extensions::{IssuingDistributionPoint, ParsedExtension};
use x509_parser::num_bigint::BigUint;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Object identifier of deltaCRLIndicator.
const DELTA: &str = "2.5.29.27";
/// Object identifier of issuingDistributionPoint.
const DISTRIBUTION_POINT: &str = "2.5.29.28";

/// A complete list of one key, or of one distribution point of it.
#[derive(Debug)]
pub(super) struct List {
    index: usize,
    der: CertificateRevocationListDer<'static>,
    /// The issuer's name, as webpki compares it.
    issuer: Vec<u8>,
    /// The distribution point. A CA may split its list; only lists of one point replace each other.
    point: Option<Vec<u8>>,
    age: Age,
    /// The seconds since 1970 by which the CA promises the next list.
    next_update: Option<u64>,
    serials: HashSet<Box<[u8]>>,
    /// The key that has signed the list, once it is known.
    signer: OnceLock<Box<[u8]>>,
}

/// The number of a list, as length and digits, and then its thisUpdate.
type Age = (Option<(usize, Vec<u8>)>, i64);

impl List {
    /// Reads a list. The error is its problem.
    pub(super) fn read(index: usize, der: CertificateRevocationListDer<'static>) -> Result<Self, String> {
        let (_, parsed) = CertificateRevocationList::from_der(&der).map_err(|_| "is malformed".to_owned())?;
        let point = point(&parsed)?;
        let unusable = |error: webpki::Error| format!("cannot be used: {error}");
        let borrowed = BorrowedCertRevocationList::from_der(&der).map_err(unusable)?;
        let serials = borrowed.into_iter().map(|revoked| revoked.map(|revoked| revoked.serial_number.into()));
        let serials = serials.collect::<Result<_, _>>().map_err(unusable)?;
        let number = parsed.crl_number().map(BigUint::to_bytes_be).map(|digits| (digits.len(), digits));
        let issuer = CertRevocationList::from(borrowed).issuer().to_vec();
        let age = (number, parsed.last_update().timestamp());
        let next_update = parsed.next_update().map(|time| u64::try_from(time.timestamp()).unwrap_or(0));
        Ok(Self { index, der, issuer, point, age, next_update, serials, signer: OnceLock::new() })
    }

    /// Returns its place in the file.
    pub(super) fn place(&self) -> String {
        format!("revocation list {}", self.index + 1)
    }

    pub(super) fn next_update(&self) -> Option<u64> {
        self.next_update
    }

    pub(super) fn is_of(&self, issuer: &[u8]) -> bool {
        self.issuer == issuer
    }

    pub(super) fn is_named_like(&self, root: &X509Certificate<'_>) -> bool {
        Any::from_der(root.subject().as_raw()).is_ok_and(|(_, name)| self.is_of(name.data))
    }

    pub(super) fn revokes(&self, serial: &[u8]) -> bool {
        self.serials.contains(serial)
    }

    fn has_signer(&self) -> bool {
        self.signer.get().is_some()
    }

    /// Returns whether this key (`SubjectPublicKeyInfo`) has signed the list. A list has one key, so that it is kept.
    pub(super) fn is_signed_by(&self, key: &[u8]) -> bool {
        if let Some(signer) = self.signer.get() {
            return **signer == *key;
        }
        let (list, parsed) = (CertificateRevocationList::from_der(&self.der), SubjectPublicKeyInfo::from_der(key));
        let (Ok((_, list)), Ok((_, parsed))) = (list, parsed) else { return false };
        let is_signed = list.verify_signature(&parsed).is_ok();
        if is_signed {
            _ = self.signer.set(key.into());
        }
        is_signed
    }

    /// Returns whether this list is a newer one of the same key and distribution point.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        let have_same_key = self.has_signer() && self.signer.get() == other.signer.get();
        have_same_key && self.point == other.point && self.age > other.age
    }

    /// Returns whether the list names the key that has signed it, and that is not the root's.
    pub(super) fn names_another_key(&self, root: &X509Certificate<'_>) -> bool {
        let Ok((_, list)) = CertificateRevocationList::from_der(&self.der) else { return false };
        let named = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref().map(|id| id.0),
            _ => None,
        });
        let own = root.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        });
        named.zip(own).is_some_and(|(named, own)| named != own)
    }
}

/// Returns the distribution point of a list, and refuses one that leaves out revoked certificates for another reason.
fn point(list: &CertificateRevocationList<'_>) -> Result<Option<Vec<u8>>, String> {
    let has = |id: &str| list.extensions().iter().find(|extension| extension.oid.to_id_string() == id);
    if has(DELTA).is_some() {
        return Err("is a delta list; name the complete list of the CA".to_owned());
    }
    let Some(extension) = has(DISTRIBUTION_POINT) else { return Ok(None) };
    match extension.parsed_extension() {
        ParsedExtension::IssuingDistributionPoint(IssuingDistributionPoint {
            only_contains_user_certs: false,
            only_contains_ca_certs: false,
            only_some_reasons: None,
            indirect_crl: false,
            only_contains_attribute_certs: false,
            ..
        }) => Ok(Some(extension.value.to_vec())),
        _ => {
            Err("has an issuing distribution point that limits its scope; name the complete list of the CA".to_owned())
        }
    }
}
