//! A file with a token.

use std::path::Path;

use crate::bearer_token::BearerToken;
use crate::bounded_file;

/// Longest token file, far above what a header can have.
const MAX_TOKEN_FILE: u64 = 64 << 10;

/// Reads the token. Its writer renews it, so every call reads it again.
pub(super) fn read(path: &Path) -> Result<BearerToken, String> {
    match bounded_file::read_text(path, MAX_TOKEN_FILE) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            Err(format!("the token file {} cannot be read: {error}; check its path and mode", path.display()))
        }
    }
}
