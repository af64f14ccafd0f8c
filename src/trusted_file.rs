//! Files that decide who is who: one that everybody can write would let anybody be anybody.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Whether everybody can write it.
#[must_use]
pub fn is_open_to_all(found: &Metadata) -> bool {
    found.is_file() && found.permissions().mode() & 0o002 != 0
}

/// Whether everybody can write there: put files into a directory, connect to a socket.
#[must_use]
pub fn is_writable_by_all(path: &Path) -> bool {
    // A path without a folder is in the current one.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o002 != 0)
}

/// What is in such a file.
///
/// # Errors
/// Where it cannot be read, is none, or can be written by everybody; the error is what to say after its name.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error| format!("cannot be read: {error}");
    let found = std::fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err("is not a file".to_owned());
    }
    if is_open_to_all(&found) {
        return Err("can be written by everybody, and so anybody could say who is who: chmod o-w".to_owned());
    }
    std::fs::read(path).map_err(unreadable)
}
