//! Credentials that are valid at a time, and their holders, as the log shows them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, SystemTime};

use super::stored::StoredRecord;

mod selection;

pub use self::selection::{CallerQuery, Selection};

/// The longest validity that AWS issues. It bounds the expiry in records of brokers that did not write it.
pub const LONGEST_VALIDITY: Duration = Duration::from_hours(12);
/// Maximum number of holders, for the memory of the reader. A longer list helps no reader either.
const MAX_HOLDERS: usize = 200_000;

/// One caller's credential for one registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holding {
    /// The caller, as in the log.
    pub caller: String,
    /// Host of the registry.
    pub registry: String,
    /// ID of the credential.
    pub credential_id: String,
}

/// The releases of a credential to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Releases {
    /// Expiry of the credential.
    pub expires: SystemTime,
    /// Whether the records name no expiry, so that it is the latest that AWS would have issued.
    pub is_latest: bool,
    /// Number of the releases.
    pub count: u64,
    /// Time of the first release.
    pub first: SystemTime,
    /// Time of the last release.
    pub last: SystemTime,
    /// Profile of the credential.
    pub profile: String,
    /// Session name of the profile's roles.
    pub role_session: Option<String>,
    /// The source that answered.
    pub source: Option<String>,
    /// ARN of the role or user that minted the credential.
    pub minted_by: Option<String>,
}

/// The credentials that are valid at a time, by holder. Others are not kept.
#[derive(Debug)]
pub struct LiveCredentials {
    at: SystemTime,
    selection: Selection,
    held: BTreeMap<Holding, Releases>,
    is_full: bool,
}

impl LiveCredentials {
    /// Returns an empty set of the credentials that are valid at a time.
    #[must_use]
    pub fn new(at: SystemTime, selection: Selection) -> Self {
        Self { at, selection, held: BTreeMap::new(), is_full: false }
    }

    /// Adds a record. Denials and errors released nothing.
    ///
    /// # Errors
    /// It is the record of a release, and lacks what each has.
    pub fn add(&mut self, record: &StoredRecord) -> Result<(), &'static str> {
        let time = time(&record.time).ok_or("has no valid time")?;
        if !record.is_release() {
            return Ok(());
        }
        let credential_id = record.credential_id.clone().ok_or("has no credential_id")?;
        let registry = record.registry.clone().ok_or("has no registry")?;
        let expires =
            record.expires.as_deref().map(|text| self::time(text).ok_or("has no valid expires")).transpose()?;
        let releases = Releases::of(record, time, expires);
        if releases.expires <= self.at || !self.selection.includes(record, &registry, time) {
            return Ok(());
        }
        let is_full = self.held.len() >= MAX_HOLDERS;
        match self.held.entry(Holding { caller: record.caller_name().into_owned(), registry, credential_id }) {
            Entry::Occupied(mut held) => held.get_mut().merge(releases),
            Entry::Vacant(_) if is_full => self.is_full = true,
            Entry::Vacant(free) => _ = free.insert(releases),
        }
        Ok(())
    }

    /// Returns the credentials by holder.
    ///
    /// # Errors
    /// There are too many: an answer that lacks some would mislead.
    pub fn finish(self) -> Result<BTreeMap<Holding, Releases>, String> {
        if self.is_full {
            return Err(format!("more than {MAX_HOLDERS} valid credentials; name a caller or a registry"));
        }
        Ok(self.held)
    }
}

impl Releases {
    fn of(record: &StoredRecord, time: SystemTime, expires: Option<SystemTime>) -> Self {
        Self {
            expires: expires.unwrap_or(time + LONGEST_VALIDITY),
            is_latest: expires.is_none(),
            count: record.count.unwrap_or(1),
            first: time,
            last: time,
            profile: record.profile.clone(),
            role_session: record.role_session.clone(),
            source: record.source.clone(),
            minted_by: record.minted_by.clone(),
        }
    }

    /// Adds later or earlier releases. An expiry that a record names counts more than a latest one.
    fn merge(&mut self, other: Self) {
        self.expires = match (self.is_latest, other.is_latest) {
            (true, true) => self.expires.min(other.expires),
            (false, false) => self.expires.max(other.expires),
            (true, false) => other.expires,
            (false, true) => self.expires,
        };
        self.is_latest &= other.is_latest;
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.source = self.source.take().or(other.source);
        self.minted_by = self.minted_by.take().or(other.minted_by);
    }
}

fn time(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

#[cfg(test)]
mod tests;
