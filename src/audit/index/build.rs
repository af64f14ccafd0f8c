//! Builds the blocks of an index from the lines of a log.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::block::{self, Entry, FIELDS};
use super::repeated::{Parsed, Repeated, split};
use super::{since_epoch, text};
use crate::credential::CredentialId;

/// Number of entries after which a block is full.
const MAX_ENTRIES: usize = 1 << 18;
/// Bytes of texts after which a block is full.
const MAX_TEXT: usize = 64 << 20;

/// The fields of a record that an index has. It borrows from the line where it can.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IndexedRecord<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow)]
    caller: Cow<'a, str>,
    via: Vec<String>,
    count: Option<u64>,
    #[serde(borrow)]
    operation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    registry: Option<Cow<'a, str>>,
    #[serde(borrow)]
    alias: Option<Cow<'a, str>>,
    #[serde(borrow)]
    profile: Cow<'a, str>,
    #[serde(borrow)]
    role_session: Option<Cow<'a, str>>,
    #[serde(borrow)]
    grant: Option<Cow<'a, str>>,
    #[serde(borrow)]
    credential_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    expires: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    minted_by: Option<Cow<'a, str>>,
}

/// The entries and texts of a block.
#[derive(Debug, Default)]
pub(super) struct Builder {
    numbers: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
    text_bytes: usize,
    entries: Vec<Entry>,
    /// The entries by what does not change: ID, texts and expiry.
    known: HashMap<(CredentialId, [u32; FIELDS], u32), usize>,
    repeated: Repeated,
    second: Second,
}

/// The second of the last time, because times of lines in a row are the same or nearly so.
#[derive(Debug, Default)]
struct Second {
    text: String,
    seconds: u32,
}

impl Builder {
    /// Adds a line. Returns the time of its record in seconds since 1970; `None`: it is not a record.
    ///
    /// # Errors
    /// The record is damaged.
    pub(super) fn add(&mut self, line: &[u8]) -> Result<Option<u32>, &'static str> {
        let split = split(line);
        let repeated = split.as_ref().and_then(|split| Some((split.time, self.repeated.get(split.rest)?)));
        if let Some((time, parsed)) = repeated {
            let time = self.time(time).ok_or("has no valid time")?;
            if let Parsed::Release(entry) = parsed {
                self.entries[entry].add(time, 1);
            }
            return Ok(Some(time));
        }
        let record: IndexedRecord<'_> = serde_json::from_slice(line).map_err(|_| "cannot be parsed")?;
        if record.kind != "audit" {
            return Ok(None);
        }
        let time = self.time(&record.time).ok_or("has no valid time")?;
        let parsed =
            if record.is_release() { Parsed::Release(self.add_release(&record, time)?) } else { Parsed::Other };
        // A line with a count stands for several releases.
        if let Some(split) = split.filter(|_| record.count.is_none()) {
            self.repeated.insert(split.rest, parsed);
        }
        Ok(Some(time))
    }

    fn add_release(&mut self, record: &IndexedRecord<'_>, time: u32) -> Result<usize, &'static str> {
        let id = record.credential_id.as_ref().ok_or("has no credential_id")?;
        let id = CredentialId::parse(id).ok_or("has no valid credential_id")?;
        let registry = record.registry.as_ref().ok_or("has no registry")?;
        let expires = record.expires.as_ref().map(|text| seconds_of(text).ok_or("has no valid expires")).transpose()?;
        let caller = record.caller_name();
        let [alias, grant] = [&record.alias, &record.grant].map(|field| text(field.as_ref()));
        let [session, minted_by, source] =
            [&record.role_session, &record.minted_by, &record.source].map(|field| text(field.as_ref()));
        let texts = [&caller, registry, alias, grant, &record.profile, session, minted_by, source];
        let texts = texts.map(|text| self.number_of(text));
        let expires = expires.unwrap_or(0);
        let entries = &mut self.entries;
        let index = *self.known.entry((id, texts, expires)).or_insert_with(|| {
            entries.push(Entry { id, texts, expires, first: time, last: time, count: 0 });
            entries.len() - 1
        });
        let count = record.count.map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX));
        self.entries[index].add(time, count);
        Ok(index)
    }

    fn number_of(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        // A block is full long before.
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        self.text_bytes += text.len();
        number
    }

    fn time(&mut self, text: &str) -> Option<u32> {
        let second = text.get(..19).filter(|_| has_millis(text));
        if second.is_some_and(|second| second == self.second.text) {
            return Some(self.second.seconds);
        }
        let seconds = seconds_of(text)?;
        if let Some(second) = second {
            self.second = Second { text: second.to_owned(), seconds };
        }
        Some(seconds)
    }

    /// Returns whether the block is so large that it must be taken.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES || self.text_bytes >= MAX_TEXT
    }

    /// Returns the block, and starts another; `None`: it would have no entry.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let block = block::encode(self.texts.iter().map(AsRef::as_ref), &self.entries);
        let has_entries = !self.entries.is_empty();
        self.numbers.clear();
        self.texts.clear();
        self.text_bytes = 0;
        self.entries.clear();
        self.known.clear();
        self.repeated.clear();
        has_entries.then_some(block)
    }
}

impl IndexedRecord<'_> {
    /// Returns whether the caller received a credential.
    fn is_release(&self) -> bool {
        self.operation.is_none() && matches!(self.outcome.as_ref(), "released" | "observed")
    }

    /// Returns the caller's whole name, with the brokers that forwarded it.
    fn caller_name(&self) -> Cow<'_, str> {
        if self.via.is_empty() {
            return self.caller.as_ref().into();
        }
        format!("via {} {}", self.via.join(","), self.caller).into()
    }
}

impl Entry {
    fn add(&mut self, time: u32, count: u32) {
        self.first = self.first.min(time);
        self.last = self.last.max(time);
        self.count = self.count.saturating_add(count);
    }
}

/// Returns whether a text ends as a time with milliseconds does.
fn has_millis(text: &str) -> bool {
    let Some([b'.', millis @ .., b'Z']) = text.as_bytes().get(19..24) else { return false };
    text.len() == 24 && millis.iter().all(u8::is_ascii_digit)
}

fn seconds_of(text: &str) -> Option<u32> {
    humantime::parse_rfc3339(text).ok().map(since_epoch)
}
