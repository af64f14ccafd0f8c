//! `include`: patterns of files to include, and the limits of what these may grant.

use std::path::{Path, PathBuf};

use toml::Value;

use super::bound::Bound;
use super::extent::{check_entries, check_number, is_literal};
use super::text::parse;
use crate::config::value_type::Expected;
use crate::config::values::string;

/// The key with the files to include.
pub(in crate::config) const INCLUDE: &str = "include";
const LIST_OF_FILES: Expected = Expected::Words("a list of files, such as [\"grants.d/*.toml\"]");
const ITEM: Expected = Expected::Words("a file, or a table { files, accounts, public, profiles }");

/// An item of `include`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Include {
    /// The pattern of its files.
    pub(super) files: String,
    /// The limits of what these files may grant; none: anything.
    pub(super) bound: Option<Bound>,
}

/// Reads the valid items of a main file's text.
pub(super) fn includes_of(text: &str) -> Vec<Include> {
    parse(text).map(|table| read(table.get(INCLUDE)).0).unwrap_or_default()
}

/// Reads the valid items, and the problems of the others.
pub(super) fn read(value: Option<&Value>) -> (Vec<Include>, Vec<String>) {
    let items = match value {
        None => return (Vec::new(), Vec::new()),
        Some(Value::Array(items)) => items,
        Some(other) => return (Vec::new(), vec![format!("{INCLUDE}: {}", LIST_OF_FILES.but_got(other))]),
    };
    let (mut includes, mut problems) = (Vec::new(), Vec::new());
    for item in items {
        match read_item(item) {
            Ok(include) => includes.push(include),
            Err(problem) => problems.push(format!("{INCLUDE}: {problem}")),
        }
    }
    (includes, problems)
}

fn read_item(item: &Value) -> Result<Include, String> {
    match item {
        Value::String(files) if !files.is_empty() => Ok(Include { files: pattern(files)?, bound: None }),
        Value::Table(table) => {
            let files = table.get("files").ok_or_else(|| ITEM.but_got(item))?;
            let files = pattern(string(files).map_err(|problem| format!("files: {problem}"))?)?;
            let bound = Bound::read(table).map_err(|problem| format!("{files:?}: {problem}"))?;
            Ok(Include { files, bound: Some(bound) })
        }
        other => Err(ITEM.but_got(other)),
    }
}

fn pattern(files: &str) -> Result<String, String> {
    glob::Pattern::new(files).map_err(|error| format!("{files:?} is not a file pattern: {error}"))?;
    Ok(files.to_owned())
}

/// Returns the files that a pattern names, relative to the folder of the file that includes them.
pub(super) fn matching(main: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let folder = main.parent().unwrap_or_else(|| Path::new(""));
    if is_literal(pattern.as_ref()) {
        // A missing file is reported when it is read.
        return Ok(vec![folder.join(pattern)]);
    }
    check_folder(folder, pattern)?;
    check_entries(folder, pattern)?;
    let from_folder = Path::new(&glob::Pattern::escape(&folder.display().to_string())).join(pattern);
    let found = glob::glob(&from_folder.display().to_string());
    let paths = found.map_err(|error| format!("{pattern:?} is not a file pattern: {error}"))?;
    let paths = paths.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let mut paths: Vec<_> = paths.into_iter().filter(|path| !is_hidden(path)).collect();
    paths.sort();
    check_number(&paths)?;
    Ok(paths)
}

/// Fails for a folder that is missing or unreadable: a grant with a denial may be in it.
fn check_folder(folder: &Path, pattern: &str) -> Result<(), String> {
    let literal: PathBuf = Path::new(pattern).components().take_while(|part| is_literal(part.as_os_str())).collect();
    let folder = Path::new(".").join(folder).join(literal);
    std::fs::read_dir(&folder).map(drop).map_err(|error| format!("{} cannot be read: {error}", folder.display()))
}

/// Hidden files belong to an editor or to Kubernetes.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
