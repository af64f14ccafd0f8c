//! Keys of the shared cache: one names its entries, the others seal them.
//!
//! The keys file has one line `names BASE64` and one or more lines `seal BASE64`. Blank lines and lines that begin with `#` are ignored.
//! All brokers of a shared cache have the same names key for good: with another one a broker finds no entry. The first seal key
//! seals, and all of them open, so that a rotation needs no moment at which all brokers change.

use std::fmt::{self, Display};
use std::path::Path;

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::seal::{KEY_BYTES, KeyBytes, SealError};
use crate::trusted_file::{self, TrustedFileError};

#[cfg(test)]
mod tests;

/// Room for the decoded text of a key, which ends in one byte of padding.
const DECODED_BYTES: usize = KEY_BYTES + 1;
/// Longest line: a word, a blank and a key.
const LINE_BYTES: usize = 64;

/// The keys of a shared cache.
#[derive(Debug)]
pub struct Keys {
    names: KeyBytes,
    sealing: KeyBytes,
    opening: Vec<KeyBytes>,
}

/// The purpose of a key. Its text is the word before the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Names,
    Seal,
}

/// Public name of a key: the first bytes of its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 4]);

/// The reason why a keys file is not used. The text continues the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysFileError {
    /// It cannot be read, or another user could read or write it.
    #[error(transparent)]
    Untrusted(#[from] TrustedFileError),
    /// A line begins with another word.
    #[error("has an unknown line {line}: expected \"names BASE64\" or \"seal BASE64\"; correct or remove the line")]
    UnknownLine {
        /// The number of the line, from 1.
        line: usize,
    },
    /// The text after the word is not a key.
    #[error("has no key in line {line}: expected base64 of 32 bytes; restore the line as keygen printed it")]
    NotAKey {
        /// The number of the line.
        line: usize,
    },
    /// There are two names keys.
    #[error("has a second names key in line {line}; keep the one that the other brokers have")]
    SecondNames {
        /// The number of the second one's line.
        line: usize,
    },
    /// A key is there twice.
    #[error("has the key of line {first} again in line {line}; keep one, or add another by keygen --seal-only")]
    Again {
        /// The number of the first line.
        first: usize,
        /// The number of the second one.
        line: usize,
    },
    /// The names key is missing.
    #[error("has no names key; copy the names line from another broker, or create a new file by ecr-broker keygen")]
    NoNames,
    /// The seal key is missing.
    #[error("has no seal key; copy the seal lines from another broker, or add one by ecr-broker keygen --seal-only")]
    NoSeal,
}

impl Keys {
    /// Returns new keys.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> Result<Self, SealError> {
        Ok(Self { names: KeyBytes::random()?, sealing: KeyBytes::random()?, opening: Vec::new() })
    }

    /// Reads a keys file as [`trusted_file::read_secret`] does.
    ///
    /// # Errors
    /// Returns why the file is not used.
    pub fn read(path: &Path) -> Result<Self, KeysFileError> {
        Self::parse(&Zeroizing::new(trusted_file::read_secret(path)?))
    }

    /// Parses the contents of a keys file. No error repeats a part of them.
    ///
    /// # Errors
    /// Returns the first mistake.
    pub fn parse(text: &[u8]) -> Result<Self, KeysFileError> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"));
        let (mut names, mut seals, mut seen) = (None, Vec::new(), Vec::new());
        for (line, text) in lines {
            let (purpose, key) = parse_line(line, text)?;
            let id = KeyId::of(&key);
            if let Some((first, _)) = seen.iter().find(|(_, known)| *known == id) {
                return Err(KeysFileError::Again { first: *first, line });
            }
            seen.push((line, id));
            match purpose {
                Purpose::Seal => seals.push(key),
                Purpose::Names if names.is_none() => names = Some(key),
                Purpose::Names => return Err(KeysFileError::SecondNames { line }),
            }
        }
        let names = names.ok_or(KeysFileError::NoNames)?;
        let mut seals = seals.into_iter();
        let sealing = seals.next().ok_or(KeysFileError::NoSeal)?;
        Ok(Self { names, sealing, opening: seals.collect() })
    }

    /// Returns the lines of the keys file.
    #[must_use]
    pub fn to_lines(&self) -> Vec<Zeroizing<String>> {
        self.each().map(|(purpose, key)| to_line(purpose, key)).collect()
    }

    /// Returns the lines of the keys file with the IDs of the keys in place of the keys.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        self.each().map(|(purpose, key)| format!("{purpose} {}", KeyId::of(key))).collect()
    }

    pub(super) fn names(&self) -> &KeyBytes {
        &self.names
    }

    /// Returns the key that seals.
    pub(super) fn sealing(&self) -> &KeyBytes {
        &self.sealing
    }

    /// Returns the keys that only open.
    pub(super) fn opening(&self) -> &[KeyBytes] {
        &self.opening
    }

    fn each(&self) -> impl Iterator<Item = (Purpose, &KeyBytes)> {
        let seals = [&self.sealing].into_iter().chain(&self.opening).map(|key| (Purpose::Seal, key));
        [(Purpose::Names, &self.names)].into_iter().chain(seals)
    }
}

/// Returns the line of a new seal key, to add to a keys file.
///
/// # Errors
/// The system has no randomness.
pub fn new_seal_line() -> Result<Zeroizing<String>, SealError> {
    Ok(to_line(Purpose::Seal, &KeyBytes::random()?))
}

fn to_line(purpose: Purpose, key: &KeyBytes) -> Zeroizing<String> {
    // With room for all: a text that grows leaves copies of the key behind.
    let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES));
    line.push_str(purpose.word());
    line.push(' ');
    BASE64.encode_append(key.expose(), &mut line);
    line
}

fn parse_line(line: usize, text: &[u8]) -> Result<(Purpose, KeyBytes), KeysFileError> {
    let (word, key) = text.split_at(text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len()));
    let known = [Purpose::Names, Purpose::Seal].into_iter().find(|known| known.word().as_bytes() == word);
    let purpose = known.ok_or(KeysFileError::UnknownLine { line })?;
    let key = decode(key.trim_ascii()).ok_or(KeysFileError::NotAKey { line })?;
    Ok((purpose, key))
}

fn decode(text: &[u8]) -> Option<KeyBytes> {
    let mut decoded = Zeroizing::new([0; DECODED_BYTES]);
    let room = decoded.get_mut(..BASE64.decode_len(text.len()).ok()?)?;
    let length = BASE64.decode_mut(text, room).ok()?;
    KeyBytes::try_from(decoded.get(..length)?).ok()
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Seal => "seal",
        }
    }
}

impl Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl KeyId {
    pub(super) fn of(key: &KeyBytes) -> Self {
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(key.expose()));
        Self([a, b, c, d])
    }

    pub(super) fn bytes(self) -> [u8; 4] {
        self.0
    }
}

impl From<[u8; 4]> for KeyId {
    fn from(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }
}

impl Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
