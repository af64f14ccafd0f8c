//! The configuration files: the main file and the files that it includes, read together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Table;

pub(super) use self::bound::Bound;

use self::include::{Include, matching};
use super::diagnostic::Diagnostic;
use crate::trusted_file::{self, TrustedFileError};

mod bound;
mod include;

/// The key with the files to include.
pub(super) const INCLUDE: &str = "include";
/// The keys that every file may have.
pub(super) const LISTS: [&str; 2] = ["profiles", "grants"];

/// The texts of the configuration files. Two readings are equal if nothing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    main: Option<File>,
    /// The items of `include`; of the reading before, if they are not valid.
    includes: Vec<Include>,
    included: Vec<IncludedFile>,
    /// Problems of the list of files to include.
    problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: PathBuf,
    text: Result<String, TrustedFileError>,
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

impl Files {
    /// Reads the main file and the files that it includes. Files that cannot be read become diagnostics of the configuration.
    #[must_use]
    pub fn read(path: Option<&Path>) -> Self {
        path.map_or_else(Self::default, |path| Self::default().read_after(path))
    }

    /// Reads the same files again, and new files that match the patterns. A main file without a valid list of them includes the same
    /// files as before, and so does a pattern whose folder cannot be read.
    #[must_use]
    pub fn read_again(&self) -> Self {
        self.main.as_ref().map_or_else(Self::default, |main| self.read_after(&main.path))
    }

    fn read_after(&self, path: &Path) -> Self {
        let main = File::read(path);
        // `documents` reports a file that is not TOML.
        let document = main.document().ok();
        let (mut includes, problems) =
            include::read(document.as_ref().and_then(|document| document.table.get(INCLUDE)));
        if document.is_none() || !problems.is_empty() && !self.includes.is_empty() {
            includes.clone_from(&self.includes);
        }
        let mut files = Self { main: Some(main), problems, ..Self::default() };
        for include in &includes {
            match matching(path, &include.files) {
                Ok(paths) => paths.iter().for_each(|path| files.include(File::read(path), include)),
                Err(problem) => {
                    files.problems.push(format!("{INCLUDE}: {problem}"));
                    let before = self.included.iter().filter(|before| before.include == *include);
                    before.for_each(|before| files.include(before.file.clone(), include));
                }
            }
        }
        Self { includes, ..files }
    }

    /// Adds a file that was not added yet: two patterns may match one file, but not with different limits.
    fn include(&mut self, file: File, include: &Include) {
        match self.included.iter().find(|other| other.file.path == file.path) {
            None => self.included.push(IncludedFile { file, include: include.clone() }),
            Some(other) if other.include.bound == include.bound => {}
            Some(_) => self.problems.push(format!(
                "{INCLUDE}: {} matches two items with different limits; let one item match it",
                file.name()
            )),
        }
    }

    /// Returns the name of the main file; empty if there is none.
    #[must_use]
    pub fn name(&self) -> String {
        self.main.as_ref().map(File::name).unwrap_or_default()
    }

    /// Returns the names of the files that differ from `others`, or that `others` have not.
    #[must_use]
    pub fn changed_since(&self, others: &Self) -> BTreeSet<String> {
        let main = self.main.iter().filter(|_| self.main != others.main).map(File::name);
        // By their contents: older contents would not mend a problem with other limits.
        let is_new = |one: &&IncludedFile| !others.included.iter().any(|other| other.file == one.file);
        main.chain(self.included.iter().filter(is_new).map(|one| one.file.name())).collect()
    }

    /// Returns these files with the named ones as they are in `others`; an included file that `others` have not is left out.
    #[must_use]
    pub fn with_files_of(&self, others: &Self, names: &BTreeSet<String>) -> Self {
        let is_named = |file: &File| names.contains(&file.name());
        let mut files =
            if self.main.as_ref().is_some_and(is_named) { self.under_main_of(others) } else { self.clone() };
        let old = |one: &IncludedFile| others.included.iter().find(|old| old.file.path == one.file.path);
        let keep = |one: IncludedFile| {
            if is_named(&one.file) { old(&one).map(|old| old.file.clone()) } else { Some(one.file) }
        };
        files.included = files
            .included
            .into_iter()
            .filter_map(|one| Some(IncludedFile { include: one.include.clone(), file: keep(one)? }))
            .collect();
        files
    }

    /// Returns the main file of `others` with the files that it includes: as they are here, or else there.
    fn under_main_of(&self, others: &Self) -> Self {
        let here = |one: &IncludedFile| self.included.iter().find(|new| new.file.path == one.file.path);
        let included = others
            .included
            .iter()
            .map(|one| IncludedFile { file: here(one).unwrap_or(one).file.clone(), include: one.include.clone() });
        Self { included: included.collect(), ..others.clone() }
    }

    /// Parses the main file, and the included files in their order.
    pub(super) fn documents(&self) -> (Document, Vec<Document>, Vec<Diagnostic>) {
        let diagnostic = |problem: &String| Diagnostic { place: self.name(), problem: problem.clone() };
        let mut diagnostics: Vec<_> = self.problems.iter().map(diagnostic).collect();
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
    fn read(path: &Path) -> Self {
        Self { path: path.to_owned(), text: trusted_file::read_text(path) }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn document(&self) -> Result<Document, String> {
        let text = self.text.as_ref().map_err(ToString::to_string)?;
        Ok(Document { place: self.name(), table: parse(text)?, bound: None })
    }
}

fn parse(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        format!("line {line}: {}", error.message().replace('\n', ", "))
    })
}

#[cfg(test)]
mod tests;
