//! Patterns of files to include.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Returns the files that a pattern names, relative to the folder of the file that includes them.
pub(super) fn matching(main: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let folder = main.parent().unwrap_or_else(|| Path::new(""));
    if is_literal(pattern.as_ref()) {
        // A missing file is reported when it is read.
        return Ok(vec![folder.join(pattern)]);
    }
    check_folder(folder, pattern)?;
    let from_folder = Path::new(&glob::Pattern::escape(&folder.display().to_string())).join(pattern);
    let found = glob::glob(&from_folder.display().to_string());
    let paths = found.map_err(|error| format!("{pattern:?} is not a file pattern: {error}"))?;
    let paths = paths.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let mut paths: Vec<_> = paths.into_iter().filter(|path| !is_hidden(path)).collect();
    paths.sort();
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

fn is_literal(part: &OsStr) -> bool {
    part.to_str().is_some_and(|part| glob::Pattern::escape(part) == part)
}
