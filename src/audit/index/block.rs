//! A block of an index: entries of one size, and the texts that they name by number.

use anyhow::{Context as _, ensure};

use crate::credential::CredentialId;

/// Number of texts of an entry.
pub(super) const FIELDS: usize = 8;
/// Bytes of an entry: an ID, the numbers of its texts, three times and a count.
const ENTRY: usize = 16 + 4 * FIELDS + 16;
/// Bytes of a block's head: the numbers of texts and entries, and the bytes of the texts.
pub(super) const HEAD: usize = 12;
/// Maximum size of a block, for the memory of a reader.
pub(super) const MAX_BLOCK: usize = 256 << 20;

/// A text of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Caller,
    Registry,
    Alias,
    Grant,
    Profile,
    RoleSession,
    MintedBy,
    Source,
}

/// Releases of a credential that differ only in their time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: CredentialId,
    /// Numbers of the texts, by [`Field`].
    pub(super) texts: [u32; FIELDS],
    /// Expiry in seconds since 1970; 0: the records name none.
    pub(super) expires: u32,
    /// Time of the first and of the last release, in seconds since 1970.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) count: u32,
}

impl Entry {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.id.to_bytes());
        let numbers = [self.expires, self.first, self.last, self.count];
        self.texts.iter().chain(&numbers).for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    }

    fn read(bytes: &[u8; ENTRY]) -> Self {
        let number = |at: usize| u32_at(bytes, 16 + 4 * at);
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        Self {
            id: CredentialId::from_bytes(id),
            texts: std::array::from_fn(number),
            expires: number(FIELDS),
            first: number(FIELDS + 1),
            last: number(FIELDS + 2),
            count: number(FIELDS + 3),
        }
    }
}

/// Writes a block.
pub(super) fn encode<'a>(texts: impl Iterator<Item = &'a str>, entries: &[Entry]) -> Vec<u8> {
    let (mut ends, mut all) = (Vec::new(), String::new());
    for text in texts {
        all.push_str(text);
        ends.push(number(all.len()));
    }
    let mut bytes = Vec::with_capacity(HEAD + ends.len() * 4 + all.len() + entries.len() * ENTRY);
    for number in [number(ends.len()), number(entries.len()), number(all.len())].iter().chain(&ends) {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(all.as_bytes());
    for entry in entries {
        entry.write(&mut bytes);
    }
    bytes
}

/// Returns a number that the limits of a block keep small.
fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Returns the bytes that follow a block's head.
pub(super) fn length_after(head: &[u8; HEAD]) -> anyhow::Result<usize> {
    let [texts, entries, text_bytes] = [0, 4, 8].map(|at| u32_at(head, at) as usize);
    let length = texts * 4 + text_bytes + entries * ENTRY;
    ensure!(length <= MAX_BLOCK, "a block of the index is damaged");
    Ok(length)
}

/// A block in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    ends: &'a [[u8; 4]],
    texts: &'a str,
    entries: &'a [[u8; ENTRY]],
}

impl<'a> Block<'a> {
    /// Reads a block.
    pub(super) fn decode(head: &[u8; HEAD], rest: &'a [u8]) -> anyhow::Result<Self> {
        ensure!(rest.len() == length_after(head)?, "a block of the index is damaged");
        let [texts, text_bytes] = [0, 8].map(|at| u32_at(head, at) as usize);
        let (ends, rest) = rest.split_at(texts * 4);
        let (texts, entries) = rest.split_at(text_bytes);
        let texts = std::str::from_utf8(texts).context("a text of the index is damaged")?;
        Ok(Self { ends: ends.as_chunks().0, texts, entries: entries.as_chunks().0 })
    }

    /// Returns the entries in their order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        self.entries.iter().map(Entry::read)
    }

    /// Returns a text of an entry.
    pub(super) fn text(&self, entry: &Entry, field: Field) -> anyhow::Result<&'a str> {
        let number = entry.texts[field as usize] as usize;
        let end = |number: usize| self.ends.get(number).map(|end| u32::from_le_bytes(*end) as usize);
        let start = if number == 0 { Some(0) } else { end(number - 1) };
        let text = start.zip(end(number)).and_then(|(start, end)| self.texts.get(start..end));
        text.context("a text of the index is damaged")
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}
