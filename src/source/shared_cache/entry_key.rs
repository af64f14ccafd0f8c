//! Key and name of an entry in the shared cache.

use std::fmt::{self, Debug};

use data_encoding::HEXLOWER;

use crate::credential::CredentialKey;

/// Everything on which AWS's answer depends, so that brokers of other settings never share an entry. A part that an entry lacks is
/// empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryKey<'a> {
    /// `ecr` or `ecr-public`; `signin`: a short-lived token of ECR.
    pub service: &'a str,
    /// Partition of AWS.
    pub partition: &'a str,
    /// Account of the registry.
    pub account: &'a str,
    /// Region of the call.
    pub region: &'a str,
    /// Endpoint of the call: its variant, and the URLs of overrides.
    pub endpoint: &'a str,
    /// Identity that mints: the ARNs of a profile's roles, or the name of the broker's own identity.
    pub identity: &'a str,
    /// Session policy of the last role.
    pub session_policy: &'a str,
    /// Caller to whom the session is attributed, and what else the session tells AWS.
    pub attribution: &'a str,
}

/// The parts of an [`EntryKey`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryParts {
    /// As [`EntryKey::service`].
    pub service: &'static str,
    /// As [`EntryKey::partition`].
    pub partition: &'static str,
    /// As [`EntryKey::account`].
    pub account: String,
    /// As [`EntryKey::region`].
    pub region: String,
    /// As [`EntryKey::endpoint`].
    pub endpoint: String,
    /// As [`EntryKey::identity`].
    pub identity: String,
    /// As [`EntryKey::session_policy`].
    pub session_policy: String,
    /// As [`EntryKey::attribution`].
    pub attribution: String,
}

/// Tells on what a source's answers depend, without a call.
pub trait EntryKeys: Debug + Send + Sync {
    /// Returns all on which the answer for `key` depends; `None`: that is not known, so the answer is not shared.
    fn parts(&self, key: &CredentialKey) -> Option<EntryParts>;
}

impl EntryParts {
    /// Returns the key of these parts.
    #[must_use]
    pub fn key(&self) -> EntryKey<'_> {
        EntryKey {
            service: self.service,
            partition: self.partition,
            account: &self.account,
            region: &self.region,
            endpoint: &self.endpoint,
            identity: &self.identity,
            session_policy: &self.session_policy,
            attribution: &self.attribution,
        }
    }
}

/// Name of an entry: a keyed hash of its [`EntryKey`], in hexadecimal. It shows neither account nor role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryName(Box<str>);

impl EntryName {
    /// Bytes of the hash: 128 bits of HMAC-SHA256.
    pub(super) const HASH_BYTES: usize = 16;

    pub(super) fn of_hash(hash: [u8; Self::HASH_BYTES]) -> Self {
        Self(HEXLOWER.encode(&hash).into())
    }

    /// Returns the 32 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl EntryKey<'_> {
    /// Returns the parts with their lengths: no two keys have the same bytes.
    pub(super) fn canonical(&self) -> Vec<u8> {
        let Self { service, partition, account, region, endpoint, identity, session_policy, attribution } = self;
        let parts = [service, partition, account, region, endpoint, identity, session_policy, attribution];
        let mut canonical = Vec::new();
        for part in parts {
            canonical.extend((part.len() as u64).to_be_bytes());
            canonical.extend(part.as_bytes());
        }
        canonical
    }
}
