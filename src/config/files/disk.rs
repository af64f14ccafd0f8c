//! The configuration files on disk, read again and again. Each file settles alone, so that one that keeps changing holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::include::{includes_of, matching};
use super::text::{Text, Unreadable};
use super::{File, Files};
use crate::trusted_file;

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
        let read = |path: &Path| Readings::after(self.texts.get(path), read(path));
        let main_text = read(main);
        let newest = [Some(&main_text.last), main_text.settled.as_ref()];
        let includes = newest.into_iter().flatten().flatten().flat_map(|text| includes_of(text));
        let patterns: BTreeSet<_> = includes.map(|include| include.files).chain(self.active.iter().cloned()).collect();
        let list = |pattern: String| {
            let listing = Readings::after(self.listings.get(&pattern), matching(main, &pattern));
            (pattern, listing)
        };
        let listings: BTreeMap<_, _> = patterns.into_iter().map(list).collect();
        let listed = listings.values().flat_map(|listing| [Some(&listing.last), listing.settled.as_ref()]);
        let paths: BTreeSet<_> = listed.flatten().flatten().flatten().filter(|path| *path != main).collect();
        let mut texts: BTreeMap<_, _> = paths.into_iter().map(|path| (path.clone(), read(path))).collect();
        texts.insert(main.clone(), main_text);
        Self { main: self.main.clone(), active: self.active.clone(), listings, texts }
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

fn read(path: &Path) -> Text {
    trusted_file::read_text(path).map_err(Unreadable::Refused)
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
