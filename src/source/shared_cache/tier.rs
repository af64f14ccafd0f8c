//! Tier: the storage that brokers share, with leases on its entries.
//!
//! A lease is advice: it lets one broker of a fleet fetch a credential while the others wait. No promise depends on it. A lost or
//! doubled lease costs one more call to the source. Only its owner stores a value, so that a slow broker cannot put back an old one.

use std::fmt::Debug;
use std::time::Duration;

use data_encoding::HEXLOWER;

use super::entry_key::EntryName;
use crate::source::SourceFuture;

/// Lifetime of a lease. Another broker can take it this long after its owner has died.
pub const LEASE_TTL: Duration = Duration::from_secs(3);
/// Longest value that is stored or read. A token has 5 KB today, and at most 64 KB.
pub const MAX_VALUE_BYTES: usize = 128 * 1024;

/// Bytes of a value before its `ETag`, the protocol's header.
const ETAG_START: usize = 8;
/// Bytes of an `ETag`, the envelope's nonce.
const ETAG_BYTES: usize = 12;

/// Storage that replicas share: sealed values and leases, by entry name. Implemented by Valkey, and by memory for tests.
pub trait Tier: Debug + Send + Sync {
    /// The value unless its `ETag` is `known`; else a lease for `owner`; else who holds the lease, or the failure note.
    fn get_or_lease<'a>(
        &'a self,
        entry: &'a EntryName,
        owner: &'a LeaseOwner,
        known: Option<&'a [u8]>,
    ) -> SourceFuture<'a, Result<TierAnswer, TierError>>;

    /// Extends the lease, if `owner` still has it.
    fn renew<'a>(&'a self, entry: &'a EntryName, owner: &'a LeaseOwner) -> SourceFuture<'a, Result<bool, TierError>>;

    /// Stores a value for `ttl` and ends the lease, if `owner` still has it.
    fn put<'a>(
        &'a self,
        entry: &'a EntryName,
        owner: &'a LeaseOwner,
        value: &'a [u8],
        ttl: Duration,
    ) -> SourceFuture<'a, Result<bool, TierError>>;

    /// Replaces the lease by a failure note for `ttl` (throttling and outages only).
    fn fail<'a>(
        &'a self,
        entry: &'a EntryName,
        owner: &'a LeaseOwner,
        note: &'a [u8],
        ttl: Duration,
    ) -> SourceFuture<'a, Result<bool, TierError>>;

    /// Ends the lease without a value, if `owner` still has it.
    fn release<'a>(&'a self, entry: &'a EntryName, owner: &'a LeaseOwner) -> SourceFuture<'a, Result<(), TierError>>;

    /// Deletes the value and any lease; with `known`, only if the stored value has that `ETag`.
    fn invalidate<'a>(
        &'a self,
        entry: &'a EntryName,
        known: Option<&'a [u8]>,
    ) -> SourceFuture<'a, Result<(), TierError>>;
}

/// Answer to a broker that needs a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TierAnswer {
    /// The entry has a value.
    Value {
        /// The envelope, which may be damaged or of another version.
        sealed: Vec<u8>,
        /// Time until the tier drops it, if it says so.
        ttl: Option<Duration>,
    },
    /// The entry has no value, and the asking broker now has its lease.
    Leased,
    /// Another broker has the lease.
    Held {
        /// Time until the lease ends, if the tier says so.
        for_: Option<Duration>,
    },
    /// The broker that had the lease failed a short time ago.
    Failed {
        /// What it noted.
        note: Vec<u8>,
        /// Time until the note ends, if the tier says so.
        for_: Option<Duration>,
    },
}

/// Why the tier did not do what it was asked for. The broker then works as without a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    /// No answer in time, no connection, or an answer that is not usable.
    #[error("shared cache not available")]
    Unavailable,
    /// The tier failed several times, and is not asked for a moment.
    #[error("shared cache not asked after failures")]
    BreakerOpen,
}

/// The owner of a lease: one fetch of one broker. Random, so that no other fetch has the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOwner(Box<str>);

impl LeaseOwner {
    /// Returns a new owner.
    #[must_use]
    pub fn random() -> Self {
        Self(HEXLOWER.encode(&fastrand::u128(..).to_be_bytes()).into())
    }

    /// Returns the text in the lease: 32 hexadecimal digits, in lower case. A failure note begins with another letter.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the `ETag` of a stored value: the nonce of its envelope. A shorter value has a shorter one, and one of only a header none.
#[must_use]
pub fn etag(value: &[u8]) -> Option<&[u8]> {
    let rest = value.get(ETAG_START..).filter(|rest| !rest.is_empty())?;
    rest.get(..ETAG_BYTES).or(Some(rest))
}
