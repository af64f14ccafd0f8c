//! The configuration files: the main file and the files that it includes, read together.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use toml::Table;

pub(super) use self::bound::Bound;
pub use self::disk::{Disk, Settled};
pub(super) use self::include::INCLUDE;

use self::include::Include;
use self::text::{Text, parse};
use super::diagnostic::Diagnostic;

mod bound;
mod change;
mod disk;
mod extent;
mod include;
mod keys;
mod text;

/// Configuration file that is read if it exists and no other is named.
pub const DEFAULT_FILE: &str = "/etc/ecr-broker/config.toml";
/// The keys that every file may have.
pub(super) const LISTS: [&str; 2] = ["profiles", "grants"];

/// The texts of the configuration files. Two readings are equal if nothing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    main: Option<File>,
    /// The items of `include`.
    includes: Vec<Include>,
    included: Vec<IncludedFile>,
    /// Problems of the list of files to include.
    problems: Vec<Diagnostic>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: PathBuf,
    text: Text,
}

/// A file and the item that includes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct IncludedFile {
    file: File,
    include: Include,
}

/// A file that was parsed.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The file's name, for diagnostics.
    pub(super) place: String,
    pub(super) table: Table,
    /// The limits of its grants and profiles; none: it may have any.
    pub(super) bound: Option<Bound>,
}

/// Returns the named file, else the default one unless it is missing. One that this user may not see is returned: reading it fails.
#[must_use]
pub fn file_to_read(named: Option<&Path>) -> Option<PathBuf> {
    let default = || {
        let found = std::fs::symlink_metadata(DEFAULT_FILE);
        let is_missing = |error: &Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        (!found.as_ref().is_err_and(is_missing)).then(|| PathBuf::from(DEFAULT_FILE))
    };
    named.map(Path::to_owned).or_else(default)
}

impl Files {
    /// Reads the main file and the files that it includes. Files that cannot be read become diagnostics of the configuration.
    #[must_use]
    pub fn read(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::default() };
        let disk = Disk::read_settled(path);
        let files = disk.main().and_then(|main| Self::default().under(main, &disk, |path| disk.file(path)));
        files.unwrap_or_default()
    }

    /// Adds a file that was not added yet: two patterns may match one file, but not with different limits.
    fn include(&mut self, file: File, include: &Include) {
        match self.included.iter().find(|other| other.file.path == file.path) {
            None => self.included.push(IncludedFile { file, include: include.clone() }),
            Some(other) if other.include.bound == include.bound => {}
            Some(_) => {
                let problem = format!("{} matches two items with different limits; let one item match it", file.name());
                self.report(self.name(), &problem);
            }
        }
    }

    fn report(&mut self, place: String, problem: &str) {
        self.problems.push(Diagnostic { place, problem: format!("{INCLUDE}: {problem}") });
    }

    /// Returns the name of the main file; empty if there is none.
    #[must_use]
    pub fn name(&self) -> String {
        self.main.as_ref().map(File::name).unwrap_or_default()
    }

    /// Returns the number of included files.
    #[must_use]
    pub fn included(&self) -> usize {
        self.included.len()
    }

    /// Parses the main file, and the included files in their order.
    pub(super) fn documents(&self) -> (Document, Vec<Document>, Vec<Diagnostic>) {
        let mut diagnostics = self.problems.clone();
        let mut document = |file: &File| {
            file.document().map_err(|problem| diagnostics.push(Diagnostic { place: file.name(), problem })).ok()
        };
        let main = self.main.as_ref().and_then(&mut document);
        let included = self.included.iter().filter_map(|one| {
            let bound = one.include.bound.clone();
            document(&one.file).map(|document| Document { bound, ..document })
        });
        let included = included.collect();
        (main.unwrap_or_default(), included, diagnostics)
    }
}

impl File {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn document(&self) -> Result<Document, String> {
        let text = self.text.as_ref().map_err(ToString::to_string)?;
        Ok(Document { place: self.name(), table: parse(text)?, bound: None })
    }
}

#[cfg(test)]
mod tests;
