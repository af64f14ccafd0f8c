//! Texts of configuration files, and why a file has none.

use std::fmt;

use toml::Table;

use super::keys::{self, MAX_KEYS, TOO_MANY};
use crate::trusted_file::TrustedFileError;

/// The text of a file.
pub(super) type Text = Result<String, Unreadable>;

/// Why a file has no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    Refused(TrustedFileError),
    /// Its readings differ again and again.
    KeepsChanging,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::KeepsChanging => {
                f.write_str("keeps changing; write a new file, rename it to this one, and then wait")
            }
        }
    }
}

/// Parses a text that has not too many keys and values; a problem names its line.
pub(super) fn parse(text: &str) -> Result<Table, String> {
    if keys::count(text) > MAX_KEYS {
        return Err(TOO_MANY.to_owned());
    }
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        format!("line {line}: {}", error.message().replace('\n', ", "))
    })
}
