//! Digests of claims.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Bytes of a digest: the first 128 bits of a SHA-256.
const BYTES: usize = 16;

/// A digest of the claims of a token, or of a caller.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimsDigest([u8; BYTES]);

impl ClaimsDigest {
    /// Returns the digest of texts. Their lengths are part of it, so that no two lists have one digest.
    #[must_use]
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Sha256::new();
        for text in texts {
            digest.update(text.len().to_be_bytes());
            digest.update(text);
        }
        let mut first = [0; BYTES];
        first.copy_from_slice(&digest.finalize()[..BYTES]);
        Self(first)
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ClaimsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ClaimsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads the format of [`fmt::Display`].
impl FromStr for ClaimsDigest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| ())?;
        bytes.try_into().map(Self).map_err(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_separates_its_texts_and_is_read_back() {
        let of = |texts: &[&str]| ClaimsDigest::of(texts.iter().map(|text| text.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]).to_string().parse(), Ok(of(&["ab", "c"])));
        assert_eq!("xyz".parse::<ClaimsDigest>(), Err(()));
    }
}
