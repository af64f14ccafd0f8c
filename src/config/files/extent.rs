//! Extent of an item of `include`: its files and folders are read into memory, and a team's user may add to them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Maximum number of files of an item.
pub(super) const MAX_FILES: usize = 256;
/// Maximum number of bytes of these files together.
pub(super) const MAX_TOTAL_BYTES: u64 = 4 << 20;
/// Maximum number of keys and values in these files together.
pub(super) const MAX_TOTAL_KEYS: usize = 65_536;
/// Maximum number of entries in the folders that a pattern looks through, whether it matches them or not.
const MAX_ENTRIES: usize = 4_096;

pub(super) const TOO_LONG: &str =
    "its files have more than 4 MiB in all; remove some, or divide them among several items";
pub(super) const TOO_MANY_KEYS: &str =
    "its files have more than 65,536 keys and values in all; remove some, or divide them among several items";

/// Fails if an item matches too many files.
pub(super) fn check_number(files: &[PathBuf]) -> Result<(), String> {
    if files.len() > MAX_FILES {
        return Err(format!("it matches more than {MAX_FILES} files; remove some, or divide them among several items"));
    }
    Ok(())
}

/// Fails if the folders that a pattern looks through have too many entries. The walk ends there, also in a circle of links.
pub(super) fn check_entries(folder: &Path, pattern: &str) -> Result<(), String> {
    let parts: Vec<_> = Path::new(pattern).components().collect();
    let mut left = MAX_ENTRIES;
    let fits = count(&Path::new(".").join(folder), &parts, &mut left).is_some();
    if fits { Ok(()) } else { Err(format!("its folders have more than {MAX_ENTRIES} entries; remove some")) }
}

/// Takes the entries that the parts of a pattern look through from those that are left; `None` if too few are.
fn count(folder: &Path, parts: &[Component<'_>], left: &mut usize) -> Option<()> {
    let Some((part, rest)) = parts.split_first() else { return Some(()) };
    if is_literal(part.as_os_str()) {
        return count(&folder.join(part), rest, left);
    }
    let next = if part.as_os_str() == "**" { parts } else { rest };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        *left = left.checked_sub(1)?;
        let path = entry.path();
        if !next.is_empty() && path.is_dir() {
            count(&path, next, left)?;
        }
    }
    Some(())
}

/// Returns whether a part of a pattern is a name.
pub(super) fn is_literal(part: &OsStr) -> bool {
    part.to_str().is_some_and(|part| glob::Pattern::escape(part) == part)
}
