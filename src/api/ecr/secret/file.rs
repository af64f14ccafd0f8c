//! The file of a secret.

use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::trusted_file::{self, TrustedFile, TrustedFileError};

/// Bytes read of a file. A longer file is not a secret.
const MAX_READ: usize = 1024;

/// Returns the content of a file; `None` if there is none. The file is opened once, and judged by the open file.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let TrustedFile { file, .. } = match trusted_file::open_secret(path) {
        Err(TrustedFileError::Missing) => return Ok(None),
        opened => opened.map_err(|error| error.to_string())?,
    };
    // With room for all: a vector that grows leaves copies of the secret behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_READ));
    file.take(MAX_READ as u64).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() == MAX_READ {
        return Err(format!("holds no secret: it has {MAX_READ} bytes or more; name another file"));
    }
    Ok(Some(text))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {error}")
}
