//! Cached credentials as bytes: the contents of a slot.

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::encoding::{Fields, Writer};
use super::fingerprint::{Fingerprint, Fingerprints};
use crate::cache::KeptCredential;
use crate::caller::{Caller, Principal, SessionIdentity};
use crate::credential::{
    Credential, CredentialError, CredentialKey, Lifetime, Minter, ProfileName, Revision, SourceName, USERNAME,
};
use crate::moment::Moment;
use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Registry};

/// A stored credential. The password is still among the opened contents, which are wiped.
pub(super) struct Stored<'a> {
    pub(super) key: CredentialKey,
    /// Fingerprint of the profile that the credential was minted by.
    pub(super) profile: Fingerprint,
    pub(super) refresh_at: Moment,
    pub(super) is_stale: bool,
    pub(super) received: Moment,
    pub(super) expires: SystemTime,
    issued: SystemTime,
    account: Option<AccountId>,
    source: SourceName,
    minter: Option<&'a str>,
    upstream_request_id: Option<&'a str>,
    password: &'a str,
    /// End of the validity on the monotonic clock, of another broker's credential: it may be before the expiry.
    end: Option<Duration>,
}

/// Opened contents.
pub(super) struct Contents<'a> {
    /// Fingerprint of the AWS settings that all of its credentials depend on.
    pub(super) aws: Fingerprint,
    /// The credentials that can be read.
    pub(super) credentials: Vec<Stored<'a>>,
    /// Number of the others.
    pub(super) unreadable: usize,
}

/// Returns the contents with as many of the credentials as have room in `max_bytes`, from the first on, and their number.
pub(super) fn encode(
    fingerprints: &Fingerprints,
    credentials: &[KeptCredential],
    max_bytes: usize,
) -> (Zeroizing<Vec<u8>>, usize) {
    let mut writer = Writer::default();
    writer.raw(fingerprints.aws.as_bytes());
    let mut written = 0;
    for kept in credentials {
        // A profile may just have been removed.
        let Some(profile) = fingerprints.find(&kept.key.profile) else { continue };
        let mut one = Writer::default();
        write(&mut one, kept, profile);
        let one = one.finish();
        if writer.len() + 4 + one.len() > max_bytes {
            break;
        }
        writer.bytes(&one);
        written += 1;
    }
    (writer.finish(), written)
}

/// Reads contents; `None` if this version did not write them.
pub(super) fn decode(bytes: &[u8]) -> Option<Contents<'_>> {
    let mut fields = Fields::of(bytes);
    let aws = Fingerprint::from_bytes(fields.array()?);
    let (mut credentials, mut unreadable) = (Vec::new(), 0);
    while !fields.is_empty() {
        match Stored::read(Fields::of(fields.bytes()?)) {
            Some(stored) => credentials.push(stored),
            None => unreadable += 1,
        }
    }
    Some(Contents { aws, credentials, unreadable })
}

fn write(writer: &mut Writer, kept: &KeptCredential, profile: Fingerprint) {
    let KeptCredential { key, credential, refresh_at, is_stale } = kept;
    let CredentialKey { registry, profile: name, revision: _, caller, lifetime } = key;
    write_registry(writer, registry);
    writer.text(name.as_str());
    writer.optional(caller.as_ref().map(Principal::to_string).as_deref());
    writer.raw(profile.as_bytes());
    writer.moment(*refresh_at);
    writer.byte((*is_stale).into());
    writer.moment(credential.received());
    writer.time(credential.issued());
    writer.time(credential.expires());
    writer.optional(credential.account().as_ref().map(AccountId::as_str));
    writer.text(credential.source().id());
    writer.optional(credential.minter().arn());
    writer.optional(credential.upstream_request_id());
    writer.text(&credential.password().expose());
    // A version before parents existed drops the whole record, because it does not know the source.
    if let SourceName::Parent(_) = credential.source() {
        writer.duration(credential.end().steady);
    }
    // A version before lifetimes existed drops the whole record: it would serve the credential under a key without one.
    if let Some(lifetime) = lifetime {
        writer.raw(&lifetime.minutes().to_le_bytes());
    }
}

/// Writes every part of a registry. Its host alone does not name one without an account.
fn write_registry(writer: &mut Writer, registry: &Registry) {
    match registry {
        Registry::Private(private) => {
            let EndpointVariant { fips, dual_stack } = private.variant();
            writer.byte(1);
            writer.byte(fips.into());
            writer.byte(dual_stack.into());
            writer.optional(private.account().as_ref().map(AccountId::as_str));
            writer.text(private.region().as_str());
        }
        Registry::Public { dual_stack } => {
            writer.byte(2);
            writer.byte((*dual_stack).into());
        }
    }
}

fn read_registry(fields: &mut Fields<'_>) -> Option<Registry> {
    match fields.byte()? {
        1 => {
            let variant = EndpointVariant { fips: fields.flag()?, dual_stack: fields.flag()? };
            let account = read_account(fields)?;
            PrivateRegistry::new(account, fields.text()?.parse().ok()?, variant).ok().map(Registry::Private)
        }
        2 => Some(Registry::Public { dual_stack: fields.flag()? }),
        _ => None,
    }
}

#[expect(clippy::option_option, reason = "the outer one is a malformed field")]
fn read_account(fields: &mut Fields<'_>) -> Option<Option<AccountId>> {
    fields.optional()?.map(str::parse).transpose().ok()
}

/// Reads the name of a principal. A Unix caller's has no group, which the parser of callers wants.
fn read_principal(name: &str) -> Option<Principal> {
    if let Some((digest, name)) = name.strip_prefix("exact:").and_then(|rest| rest.split_once(':')) {
        return Some(Principal::exact(read_principal(name)?, digest.parse().ok()?));
    }
    if name.starts_with("session:") {
        return SessionIdentity::parse(name, read_principal)?.into_key();
    }
    if let Some((via, name)) = name.strip_prefix("via ").and_then(|rest| rest.split_once(' ')) {
        return Some(Principal::asserted(read_principal(name)?, via.parse().ok()?));
    }
    if let Some(uid) = name.strip_prefix("uid:") {
        return uid.parse().ok().map(Principal::Uid);
    }
    name.parse::<Caller>().ok().map(|caller| caller.principal())
}

impl<'a> Stored<'a> {
    fn read(mut fields: Fields<'a>) -> Option<Self> {
        let registry = read_registry(&mut fields)?;
        let profile: ProfileName = fields.text()?.parse().ok()?;
        let caller = match fields.optional()? {
            Some(name) => Some(read_principal(name)?),
            None => None,
        };
        let mut stored = Self {
            key: CredentialKey { registry, profile, revision: Revision::default(), caller, lifetime: None },
            profile: Fingerprint::from_bytes(fields.array()?),
            refresh_at: fields.moment()?,
            is_stale: fields.flag()?,
            received: fields.moment()?,
            issued: fields.time()?,
            expires: fields.time()?,
            account: read_account(&mut fields)?,
            source: fields.text()?.parse().ok()?,
            minter: fields.optional()?,
            upstream_request_id: fields.optional()?,
            password: fields.text()?,
            end: None,
        };
        if let SourceName::Parent(_) = stored.source {
            stored.end = Some(fields.duration()?);
        }
        if !fields.is_empty() {
            stored.key.lifetime = Some(Lifetime::from_minutes(u16::from_le_bytes(fields.array()?))?);
        }
        fields.is_empty().then_some(stored)
    }

    /// Returns the credential as it was before. Both of its clocks go on, so a clock that was stepped meanwhile does not make it last
    /// longer (P14).
    pub(super) fn credential(&self) -> Result<Credential, CredentialError> {
        let (issued, expires, received) = (self.issued, self.expires, self.received);
        let credential = Credential::new(self.source.clone(), USERNAME, self.password, issued, expires, received)?;
        let credential = if let Some(end) = self.end { credential.ending_by(end) } else { credential };
        let minter = self.minter.map(Minter::known).unwrap_or_default();
        let request_id = self.upstream_request_id.map(Into::into);
        Ok(credential.for_account(self.account).minted_by(minter).with_upstream_request_id(request_id))
    }
}

#[cfg(test)]
mod tests;
