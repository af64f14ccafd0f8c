//! The configuration files: the main file and the files that it includes, read together.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use self::include::matching;
use super::diagnostic::Diagnostic;
use super::value_type::Expected;
use crate::trusted_file::{self, TrustedFileError};

mod include;

/// The key with the files to include.
pub(super) const INCLUDE: &str = "include";
const LIST_OF_FILES: Expected = Expected::Words("a list of files, such as [\"grants.d/*.toml\"]");
/// The keys that every file may have.
pub(super) const LISTS: [&str; 2] = ["profiles", "grants"];

/// The texts of the configuration files. Two readings are equal if nothing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    main: Option<File>,
    included: Vec<File>,
    /// Problems of the list of files to include.
    problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: PathBuf,
    text: Result<String, TrustedFileError>,
}

/// A file that was parsed.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The file's name, for diagnostics.
    pub(super) place: String,
    pub(super) table: Table,
}

impl Files {
    /// Reads the main file and the files that it includes. Files that cannot be read become diagnostics of the configuration.
    #[must_use]
    pub fn read(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::default() };
        let main = File::read(path);
        let mut files = Self::default();
        for pattern in main.patterns() {
            match pattern.and_then(|pattern| matching(path, &pattern)) {
                Ok(paths) => files.include(&paths),
                Err(problem) => files.problems.push(format!("{INCLUDE}: {problem}")),
            }
        }
        Self { main: Some(main), ..files }
    }

    /// Reads the same files again, and new files that match the patterns.
    #[must_use]
    pub fn read_again(&self) -> Self {
        Self::read(self.main.as_ref().map(|file| &*file.path))
    }

    /// Reads files that were not read yet: two patterns may match one file.
    fn include(&mut self, paths: &[PathBuf]) {
        for path in paths {
            if !self.included.iter().any(|file| file.path == *path) {
                self.included.push(File::read(path));
            }
        }
    }

    /// Returns the name of the main file; empty if there is none.
    pub(super) fn name(&self) -> String {
        self.main.as_ref().map(File::name).unwrap_or_default()
    }

    /// Parses the main file, and the included files in their order.
    pub(super) fn documents(&self) -> (Document, Vec<Document>, Vec<Diagnostic>) {
        let diagnostic = |problem: &String| Diagnostic { place: self.name(), problem: problem.clone() };
        let mut diagnostics: Vec<_> = self.problems.iter().map(diagnostic).collect();
        let mut document = |file: &File| {
            file.document().map_err(|problem| diagnostics.push(Diagnostic { place: file.name(), problem })).ok()
        };
        let main = self.main.as_ref().and_then(&mut document);
        let included = self.included.iter().filter_map(document).collect();
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
        Ok(Document { place: self.name(), table: parse(text)? })
    }

    /// Returns the patterns of files to include; none for a file that is not TOML, which `documents` reports.
    fn patterns(&self) -> Vec<Result<String, String>> {
        let table = self.document().unwrap_or_default().table;
        let pattern = |item: &Value| {
            let text = item.as_str().map(str::to_owned);
            text.ok_or_else(|| Expected::Words("a string").but_got(item))
        };
        match table.get(INCLUDE) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.iter().map(pattern).collect(),
            Some(other) => vec![Err(LIST_OF_FILES.but_got(other))],
        }
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
