//! The configuration files on disk, read again and again. Each file settles alone, so that one that keeps changing holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::extent::{MAX_TOTAL_BYTES, MAX_TOTAL_KEYS, TOO_LONG, TOO_MANY_KEYS};
use super::include::{includes_of, matching};
use super::keys::{self, MAX_KEYS};
use super::text::{Text, Unreadable};
use super::{File, Files};
use crate::trusted_file::{self, TrustedFileError};

/// Readings in a row after which a file that still changes is broken.
const MAX_CHANGES: u32 = 6;

/// The files that a pattern matches.
type Listing = Result<Vec<PathBuf>, String>;

/// The last readings of the main file and of the files that it includes. Two are equal if nothing changed between them.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    main: Option<PathBuf>,
    /// The patterns in effect, which a new main file may no longer have.
    active: BTreeSet<String>,
    listings: BTreeMap<String, Readings<Listing>>,
    texts: BTreeMap<PathBuf, Readings<Text>>,
}

/// The contents that have settled: they were equal in two readings in a row.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    listings: BTreeMap<String, Option<Listing>>,
    texts: BTreeMap<PathBuf, Option<Text>>,
}

/// The readings of one file, or of the names in a folder.
#[derive(Debug, Clone)]
struct Readings<T> {
    last: T,
    /// None: no two readings were equal yet.
    settled: Option<T>,
    /// Readings since it last was as in the reading before.
    changes: u32,
}

impl<T: Clone + PartialEq> Readings<T> {
    fn after(before: Option<&Self>, last: T) -> Self {
        match before {
            None => Self { last, settled: None, changes: 0 },
            Some(before) if before.last == last => Self { settled: Some(last.clone()), last, changes: 0 },
            Some(before) => Self { last, settled: before.settled.clone(), changes: before.changes.saturating_add(1) },
        }
    }

    /// Returns what has settled; `broken` if it keeps changing.
    fn newest(&self, broken: impl FnOnce() -> T) -> Option<T> {
        if self.changes < MAX_CHANGES { self.settled.clone() } else { Some(broken()) }
    }
}

impl Disk {
    /// Returns the files to read, of which nothing was read yet.
    #[must_use]
    pub fn of(files: &Files) -> Self {
        let main = files.main.as_ref().map(|main| main.path.clone());
        Self { main, active: files.patterns(), ..Self::default() }
    }

    /// Reads the files twice, as if they had settled.
    pub(super) fn read_settled(main: &Path) -> Self {
        let disk = Self { main: Some(main.to_owned()), ..Self::default() }.read_again();
        let texts = disk.texts.into_iter().map(|(path, read)| (path, Readings::after(Some(&read.clone()), read.last)));
        let listings =
            disk.listings.into_iter().map(|(files, read)| (files, Readings::after(Some(&read.clone()), read.last)));
        Self { texts: texts.collect(), listings: listings.collect(), ..disk }
    }

    /// Notes which files are in effect: their patterns are matched even if a new main file cannot be read.
    pub fn activate(&mut self, files: &Files) {
        self.active = files.patterns();
    }

    /// Reads all files again.
    #[must_use]
    pub fn read_again(&self) -> Self {
        let Some(main) = &self.main else { return self.clone() };
        let main_text = self.reading_of(main, trusted_file::MAX_BYTES).0;
        let newest = [Some(&main_text.last), main_text.settled.as_ref()];
        let includes = newest.into_iter().flatten().flatten().flat_map(|text| includes_of(text));
        let patterns: BTreeSet<_> = includes.map(|include| include.files).chain(self.active.iter().cloned()).collect();
        let mut texts = BTreeMap::from([(main.clone(), main_text)]);
        let listings = patterns.into_iter().map(|pattern| {
            let listing = self.read_listed(matching(main, &pattern), self.listings.get(&pattern), &mut texts);
            (pattern, listing)
        });
        Self { main: self.main.clone(), active: self.active.clone(), listings: listings.collect(), texts }
    }

    /// Reads the files that a pattern matches, beside those that were read. If they are too long together, or have too many keys, none is
    /// kept, and the listing fails.
    fn read_listed(
        &self,
        last: Listing,
        before: Option<&Readings<Listing>>,
        texts: &mut BTreeMap<PathBuf, Readings<Text>>,
    ) -> Readings<Listing> {
        let listing = Readings::after(before, last);
        let listed = [Some(&listing.last), listing.settled.as_ref()].into_iter().flatten().flatten().flatten();
        let (mut left, mut keys_left, mut read) = (MAX_TOTAL_BYTES, MAX_TOTAL_KEYS, BTreeMap::new());
        for path in listed.filter(|path| self.main.as_ref() != Some(*path)).collect::<BTreeSet<_>>() {
            let (length, keys) = if let Some(text) = texts.get(path) {
                (length_of(&text.last), keys_of(&text.last))
            } else {
                let (text, length) = self.reading_of(path, left);
                let keys = keys_of(&text.last);
                read.insert(path.clone(), text);
                (length, keys)
            };
            let Some(rest) = left.checked_sub(length) else {
                return Readings::after(before, Err(TOO_LONG.to_owned()));
            };
            let Some(rest_of_keys) = keys_left.checked_sub(keys) else {
                return Readings::after(before, Err(TOO_MANY_KEYS.to_owned()));
            };
            (left, keys_left) = (rest, rest_of_keys);
        }
        texts.extend(read);
        listing
    }

    /// Reads a file of at most `limit` bytes, and of no more than any file may have. Returns with it what its length counts: of a
    /// longer one, more than the limit.
    fn reading_of(&self, path: &Path, limit: u64) -> (Readings<Text>, u64) {
        let text = trusted_file::read_text_up_to(path, limit.min(trusted_file::MAX_BYTES));
        let is_beyond = limit < trusted_file::MAX_BYTES && matches!(text, Err(TrustedFileError::TooLong { .. }));
        let text = text.map_err(Unreadable::Refused);
        let length = if is_beyond { limit + 1 } else { length_of(&text) };
        (Readings::after(self.texts.get(path), text), length)
    }

    /// Returns all that has settled.
    #[must_use]
    pub fn settled(&self) -> Settled {
        Settled {
            listings: self.listings.keys().map(|pattern| (pattern.clone(), self.listing(pattern))).collect(),
            texts: self.texts.keys().map(|path| (path.clone(), self.file(path).map(|file| file.text))).collect(),
        }
    }

    /// Returns the main file; `None` if there is none, or it has not settled.
    pub(super) fn main(&self) -> Option<File> {
        self.file(self.main.as_ref()?)
    }

    /// Returns a file; `None` if it has not settled, or is not read.
    pub(super) fn file(&self, path: &Path) -> Option<File> {
        let text = self.texts.get(path)?.newest(|| Err(Unreadable::KeepsChanging))?;
        Some(File { path: path.to_owned(), text })
    }

    /// Returns the files that a pattern matches; `None` if they have not settled.
    pub(super) fn listing(&self, pattern: &str) -> Option<Listing> {
        let broken = || Err("the files that it matches keep changing; add and remove files less often".to_owned());
        self.listings.get(pattern)?.newest(broken)
    }
}

fn length_of(text: &Text) -> u64 {
    text.as_ref().map_or(0, |text| text.len() as u64)
}

/// Returns the number of keys and values; none of a file that is not parsed because it has too many.
fn keys_of(text: &Text) -> usize {
    let keys = text.as_ref().map_or(0, |text| keys::count(text));
    if keys > MAX_KEYS { 0 } else { keys }
}

/// Compares the last readings.
impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        let texts = |disk: &Self| disk.texts.iter().map(|(path, read)| (path.clone(), read.last.clone())).collect();
        let listings =
            |disk: &Self| disk.listings.iter().map(|(files, read)| (files.clone(), read.last.clone())).collect();
        let (mine, others): (Vec<_>, Vec<_>) = (texts(self), texts(other));
        let (listed, others_listed): (Vec<_>, Vec<_>) = (listings(self), listings(other));
        mine == others && listed == others_listed
    }
}
