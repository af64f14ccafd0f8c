//! The secret that authenticates callers of the ECR API.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use sha2::{Digest as _, Sha256};

use self::create::create;

mod create;
mod file;

/// Shortest secret: 32 random characters cannot be guessed.
const MIN_LENGTH: usize = 32;
const MAX_LENGTH: usize = 256;
/// Separates these digests from every other SHA-256 of the same bytes.
const DOMAIN: &[u8] = b"ecr-broker aws api secret v1\0";

/// The secret. It cannot be printed or serialised: only a digest of the text is kept.
///
/// ```compile_fail,E0277
/// fn printed<T: std::fmt::Display>() {}
/// printed::<ecr_broker::api::ecr::Secret>();
/// ```
/// ```compile_fail,E0277
/// fn written<T: serde::Serialize>() {}
/// written::<ecr_broker::api::ecr::Secret>();
/// ```
pub struct Secret {
    digest: [u8; 32],
}

impl Secret {
    /// Reads the secret of a file; `None` if there is no file.
    ///
    /// # Errors
    /// Returns what is wrong with the file, as a text that continues its name.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let Some(text) = file::read(path)? else { return Ok(None) };
        let line = text.trim_ascii_end();
        if !is_secret(line) {
            return Err(format!(
                "holds no secret: expected one line of {MIN_LENGTH} to {MAX_LENGTH} letters, digits, \"_\" or \"-\"; remove the file to have one created"
            ));
        }
        Ok(Some(Self { digest: digest(line) }))
    }

    /// Reads the secret of a file. If there is no file, creates one with a random secret that only its owner can read.
    ///
    /// # Errors
    /// If the file can be neither read nor created.
    pub fn read_or_create(path: &Path) -> anyhow::Result<Self> {
        let read = || Self::read(path).map_err(|problem| anyhow!("it {problem}"));
        if let Some(secret) = read()? {
            return Ok(secret);
        }
        create(path, |from, to| fs::hard_link(from, to))
            .context("it does not exist and cannot be created; create its directory, or name another file")?;
        read()?.context("it was removed again")
    }

    /// Returns whether `candidate` is the secret. The time that this takes does not depend on where the two differ.
    #[must_use]
    pub fn matches(&self, candidate: &str) -> bool {
        let candidate = digest(candidate.as_bytes());
        let difference = self.digest.iter().zip(candidate).fold(0, |all, (own, other)| all | (own ^ other));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

fn digest(text: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(&Sha256::new().chain_update(DOMAIN).chain_update(text).finalize());
    digest
}

/// Returns whether a text has a secret's length, and only characters that a URL's path holds unescaped.
fn is_secret(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    (MIN_LENGTH..=MAX_LENGTH).contains(&text.len()) && text.iter().all(is_plain)
}

#[cfg(test)]
mod tests;
