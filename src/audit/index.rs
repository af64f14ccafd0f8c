//! Index of a log: which caller received which credential, for lookups by the ID of a credential.
//!
//! Releases that differ only in their time are one entry. The index is a file of fixed-size entries and their texts,
//! which grows by a block with each run, from the end of what the last run read. A lookup scans the entries, 64 bytes
//! each, and never the log.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use self::block::{Block, Entry, Field};
pub use self::read::{IndexedLogs, Place};
use super::live::LONGEST_VALIDITY;
use crate::credential::CredentialId;

mod block;
mod build;
mod file;
mod header;
mod read;
mod repeated;

/// Maximum number of holders, callers and credentials in an answer, for the memory of the reader.
const MAX_ANSWER: usize = 200_000;

/// One caller's releases of a credential, by one grant for one registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// The caller, with the brokers that forwarded it.
    pub caller: String,
    /// Host of the registry.
    pub registry: String,
    /// Alias by which the caller named the registry; empty: none.
    pub alias: String,
    /// The grant that decided; empty: none is configured.
    pub grant: String,
    /// Profile of the credential.
    pub profile: String,
}

/// The releases to one holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Number of the releases.
    pub count: u64,
    /// Time of the first release, in seconds.
    pub first: SystemTime,
    /// Time of the last release, in seconds.
    pub last: SystemTime,
}

/// A credential, as the logs show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leak {
    /// Its holders.
    pub holders: BTreeMap<Holder, Held>,
    /// Whether there are more holders than these.
    pub has_more: bool,
    /// The sessions that minted it. There is one, unless records contradict each other.
    pub sessions: BTreeSet<Session>,
    /// The sources that answered.
    pub sources: BTreeSet<String>,
    /// Its expiry; `None`: the logs have no record of it.
    pub expires: Option<SystemTime>,
    /// Whether the records name no expiry, so that it is the latest that AWS would have issued.
    pub expires_is_latest: bool,
}

/// The session that minted a credential.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// ARN of the role or user; empty: the records do not name it.
    pub minted_by: String,
    /// Name of the role session; empty: the records do not name it.
    pub name: String,
}

/// The valid credentials that a revocation ends, and their holders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Number of the credentials.
    pub credentials: usize,
    /// The holders.
    pub callers: BTreeSet<String>,
    /// Whether there are more holders than these.
    pub has_more: bool,
}

/// The reach of the revocation of one session, and of all sessions of its role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reaches {
    /// That of the session.
    pub of_session: Reach,
    /// That of the role.
    pub of_role: Reach,
}

impl IndexedLogs {
    /// Finds the credentials of some IDs.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn find(&self, ids: &HashSet<CredentialId>) -> anyhow::Result<BTreeMap<CredentialId, Leak>> {
        let mut found = BTreeMap::<CredentialId, Leak>::new();
        self.each_block(|block| {
            for entry in block.entries().filter(|entry| ids.contains(&entry.id)) {
                found.entry(entry.id).or_default().add(&block, &entry)?;
            }
            Ok(())
        })?;
        // The first records of the broker's own identity may lack its name.
        for leak in found.values_mut().filter(|leak| leak.sessions.len() > 1) {
            leak.sessions.remove(&Session::default());
        }
        Ok(found)
    }

    /// Finds the credentials valid at a time that revocations of these sessions, and of their roles, end.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn reach(&self, sessions: &BTreeSet<Session>, at: SystemTime) -> anyhow::Result<BTreeMap<Session, Reaches>> {
        let mut found: BTreeMap<_, _> = sessions.iter().map(|session| (session.clone(), Reached::default())).collect();
        let mut unnamed = HashMap::<CredentialId, HashSet<String>>::new();
        self.each_block(|block| {
            for entry in block.entries().filter(|entry| entry.expiry().0 > at) {
                let minted_by = block.text(&entry, Field::MintedBy)?;
                let caller = block.text(&entry, Field::Caller)?;
                if minted_by.is_empty() && unnamed.len() < MAX_ANSWER {
                    unnamed.entry(entry.id).or_default().insert(caller.to_owned());
                }
                for (session, reached) in found.iter_mut().filter(|(session, _)| session.minted_by == minted_by) {
                    let is_session = block.text(&entry, Field::RoleSession)? == session.name;
                    reached.add(entry.id, caller, is_session);
                }
            }
            Ok(())
        })?;
        Ok(found.into_iter().map(|(session, reached)| (session, reached.finish(&unnamed))).collect())
    }
}

impl Session {
    /// Returns whether the records name the identity that minted the credential.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.minted_by.is_empty()
    }
}

impl Leak {
    fn add(&mut self, block: &Block<'_>, entry: &Entry) -> anyhow::Result<()> {
        let text = |field| block.text(entry, field).map(str::to_owned);
        let holder = Holder {
            caller: text(Field::Caller)?,
            registry: text(Field::Registry)?,
            alias: text(Field::Alias)?,
            grant: text(Field::Grant)?,
            profile: text(Field::Profile)?,
        };
        let (first, last) = (seconds(entry.first), seconds(entry.last));
        if self.holders.len() >= MAX_ANSWER && !self.holders.contains_key(&holder) {
            self.has_more = true;
        } else {
            let held = self.holders.entry(holder).or_insert(Held { count: 0, first, last });
            held.count += u64::from(entry.count);
            held.first = held.first.min(first);
            held.last = held.last.max(last);
        }
        self.sessions.insert(Session { minted_by: text(Field::MintedBy)?, name: text(Field::RoleSession)? });
        self.sources.insert(text(Field::Source)?);
        self.add_expiry(entry.expiry());
        Ok(())
    }

    /// Adds an expiry. One that a record names counts more than a latest one.
    fn add_expiry(&mut self, (expires, is_latest): (SystemTime, bool)) {
        let known = self.expires.map(|known| (known, self.expires_is_latest));
        let (expires, is_latest) = match known {
            Some((known, true)) if is_latest => (known.min(expires), true),
            Some((known, false)) if !is_latest => (known.max(expires), false),
            Some((known, false)) => (known, false),
            Some((_, true)) | None => (expires, is_latest),
        };
        (self.expires, self.expires_is_latest) = (Some(expires), is_latest);
    }
}

/// What the revocations of a session and of its role reach, while it is collected.
#[derive(Debug, Default)]
struct Reached {
    of_session: HashSet<CredentialId>,
    of_role: HashSet<CredentialId>,
    /// The callers, and whether they hold a credential of the session.
    callers: HashMap<String, bool>,
    /// Whether there are more callers than are kept.
    has_more: bool,
}

impl Reached {
    fn add(&mut self, id: CredentialId, caller: &str, is_session: bool) {
        self.of_role.insert(id);
        if is_session {
            self.of_session.insert(id);
        }
        let is_full = self.callers.len() >= MAX_ANSWER;
        match self.callers.get_mut(caller) {
            Some(holds_session) => *holds_session |= is_session,
            None if is_full => self.has_more = true,
            None => _ = self.callers.insert(caller.to_owned(), is_session),
        }
    }

    /// Returns the reach, with the holders of records that lack the role's name.
    fn finish(self, unnamed: &HashMap<CredentialId, HashSet<String>>) -> Reaches {
        let reach = |ids: &HashSet<CredentialId>, is_role: bool| {
            let named = self.callers.iter().filter(|(_, holds_session)| is_role || **holds_session);
            let more = ids.iter().filter_map(|id| unnamed.get(id)).flatten();
            let callers = named.map(|(caller, _)| caller).chain(more).cloned().collect();
            Reach { credentials: ids.len(), callers, has_more: self.has_more }
        };
        Reaches { of_session: reach(&self.of_session, false), of_role: reach(&self.of_role, true) }
    }
}

impl Entry {
    /// Returns the expiry, and whether it is only the latest that AWS would have issued.
    fn expiry(&self) -> (SystemTime, bool) {
        match self.expires {
            0 => (seconds(self.first) + LONGEST_VALIDITY, true),
            expires => (seconds(expires), false),
        }
    }
}

fn seconds(since_epoch: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.into())
}

/// Returns a time in seconds; the first and the last moment stand for those before and after.
fn since_epoch(time: SystemTime) -> u32 {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// An optional text of a record; empty: the record lacks it.
fn text<'a>(optional: Option<&'a Cow<'a, str>>) -> &'a str {
    optional.map_or("", AsRef::as_ref)
}

#[cfg(test)]
mod tests;
