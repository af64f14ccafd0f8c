//! Errors of writes.

use std::io::ErrorKind;
use std::path::Path;

/// Returns the error of a write. A mount of the file alone, as `docker run -v FILE:FILE` or a `subPath` makes it, cannot be renamed
/// over, and writing into it would show readers half a file.
#[must_use]
pub fn write_problem(file: &Path, error: &std::io::Error) -> String {
    let file = file.display();
    match error.kind() {
        ErrorKind::ResourceBusy => {
            format!("{file}: the file is a mount point and cannot be replaced; mount its directory instead")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!("{file}: the file system is read-only; name a file in a writable directory")
        }
        _ => format!("{file}: {error}"),
    }
}
