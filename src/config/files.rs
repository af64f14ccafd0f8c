//! The files of a configuration: the one that was named, and those that it includes, as they were read together.

use std::ffi::OsStr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::diagnostic::Diagnostic;
use crate::trusted_file;

/// What names the files that are included.
pub(super) const INCLUDE: &str = "include";
/// The keys of a file that are no sections.
pub(super) const LISTS: [&str; 2] = ["profiles", "grants"];

/// The texts of a configuration's files. Two readings are equal where nothing has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    main: Option<File>,
    included: Vec<File>,
    /// What is wrong with the list of those to include.
    problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: PathBuf,
    text: Result<String, String>,
}

/// A file that could be read as TOML.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Its name, for diagnostics.
    pub(super) place: String,
    pub(super) table: Table,
}

impl Files {
    /// Reads the file and all that it includes; what cannot be read is a mistake of the configuration's.
    #[must_use]
    pub fn read(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::default() };
        let main = File::read(path);
        let mut files = Self::default();
        for pattern in main.patterns() {
            match pattern.and_then(|pattern| matching(path, &pattern)) {
                Ok(paths) => {
                    let new = paths.iter().filter(|path| !files.included.iter().any(|file| file.path == **path));
                    let new: Vec<_> = new.map(|path| File::read_included(path)).collect();
                    files.included.extend(new);
                }
                Err(problem) => files.problems.push(format!("{INCLUDE}: {problem}")),
            }
        }
        Self { main: Some(main), ..files }
    }

    /// The same files as they are now, and those that have come.
    #[must_use]
    pub fn read_again(&self) -> Self {
        Self::read(self.main.as_ref().map(|file| &*file.path))
    }

    /// The file that was named, for people; empty where none was.
    pub(super) fn name(&self) -> String {
        self.main.as_ref().map(File::name).unwrap_or_default()
    }

    /// The file that was named, and those that it includes, in the order of their names; and what is wrong with them.
    pub(super) fn documents(&self) -> (Document, Vec<Document>, Vec<Diagnostic>) {
        let mistake = |problem: &String| Diagnostic { place: self.name(), problem: problem.clone() };
        let mut diagnostics: Vec<_> = self.problems.iter().map(mistake).collect();
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
        Self { path: path.to_owned(), text: read(path) }
    }

    /// Whoever can put a file beside it can grant anything, too.
    fn read_included(path: &Path) -> Self {
        let open = path.parent().is_some_and(trusted_file::is_writable_by_all);
        let problem = "the file's directory can be written by everybody, and so anybody could grant themselves anything: chmod o-w";
        if open { Self { path: path.to_owned(), text: Err(problem.to_owned()) } } else { Self::read(path) }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn document(&self) -> Result<Document, String> {
        let table = parse(self.text.as_ref().map_err(String::clone)?)?;
        Ok(Document { place: self.name(), table })
    }

    /// What it includes; nothing where it is no TOML, which is said elsewhere.
    fn patterns(&self) -> Vec<Result<String, String>> {
        let table = self.document().unwrap_or_default().table;
        let of_item = |item: &Value| {
            let text = item.as_str().map(str::to_owned);
            text.ok_or_else(|| format!("{item} is not a text between quotes"))
        };
        match table.get(INCLUDE) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.iter().map(of_item).collect(),
            Some(other) => vec![Err(format!("{other} is not a list of files; write [\"grants.d/*.toml\"]"))],
        }
    }
}

/// The files that a pattern names, seen from the folder of the file that it stands in.
fn matching(main: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let folder = main.parent().unwrap_or_else(|| Path::new(""));
    if glob::Pattern::escape(pattern) == pattern {
        // A file by its name: one that is not there is a mistake.
        return Ok(vec![folder.join(pattern)]);
    }
    let literal: PathBuf = Path::new(pattern).components().take_while(|part| is_literal(part.as_os_str())).collect();
    let below = Path::new(".").join(folder).join(literal);
    // What is in a folder that is not there, or cannot be looked into, might be a deny.
    std::fs::read_dir(&below).map_err(|error| format!("{}: {error}", below.display()))?;
    let from_folder = Path::new(&glob::Pattern::escape(&folder.display().to_string())).join(pattern);
    let found = glob::glob(&from_folder.display().to_string());
    let paths = found.map_err(|error| format!("{pattern:?} is no pattern of files: {error}"))?;
    let paths = paths.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    // Hidden files are an editor's, or Kubernetes' own.
    let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let mut paths: Vec<_> = paths.into_iter().filter(|path| !is_hidden(path)).collect();
    paths.sort();
    Ok(paths)
}

fn is_literal(part: &OsStr) -> bool {
    part.to_str().is_some_and(|part| glob::Pattern::escape(part) == part)
}

fn read(path: &Path) -> Result<String, String> {
    let unreadable = |error| format!("the file cannot be read: {error}");
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    let kind = metadata.file_type();
    if kind.is_dir() || kind.is_fifo() || kind.is_socket() {
        return Err("it is not a file".to_owned());
    }
    if trusted_file::is_open_to_all(&metadata) {
        return Err("the file can be written by everybody, and so anybody could grant themselves anything: chmod o-w"
            .to_owned());
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn parse(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        format!("line {line}: {}", error.message().replace('\n', ", "))
    })
}
