//! Request of a helper, read from stdin.

use std::io::Read as _;

/// Size limit of a request, far above what any of the programs sends.
const MAX_SIZE: u64 = 1024 * 1024;

/// Reads all of stdin as text.
///
/// # Errors
/// Returns an error if stdin cannot be read or is not UTF-8.
pub(super) fn read() -> std::io::Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().take(MAX_SIZE).read_to_string(&mut text)?;
    Ok(text)
}
