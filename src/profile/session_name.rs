//! Names of role sessions. CloudTrail shows them as the actor of every call.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::caller::Principal;
use crate::credential::ProfileName;

/// The prefix of every session name.
const PREFIX: &str = "ecr-broker-";
/// STS rejects a longer session name.
const MAX_LENGTH: usize = 64;
/// The first 96 bits of a SHA-256.
const DIGEST_BYTES: usize = 12;

/// Returns whether STS accepts a letter in a session name.
pub(super) fn is_allowed(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_=,.@-".contains(letter)
}

/// Returns the name of sessions that are made of several values: their beginning, and a digest of all, which keeps two lists apart.
pub(super) fn of_values(values: &[String]) -> String {
    let mut digest = Sha256::new();
    for value in values {
        digest.update((value.len() as u64).to_be_bytes());
        digest.update(value);
    }
    let plain = values.concat().chars().map(plain).take(MAX_LENGTH - ".".len() - 2 * DIGEST_BYTES).collect::<String>();
    format!("{plain}.{}", HEXLOWER.encode(&digest.finalize()[..DIGEST_BYTES]))
}

fn plain(letter: char) -> char {
    if is_allowed(letter) { letter } else { '-' }
}

/// Returns the name of sessions that all callers of a profile share.
pub(super) fn of_profile(profile: &ProfileName) -> String {
    format!("{PREFIX}{profile}")
}

/// Returns the name of one caller's sessions.
///
/// STS accepts 64 letters, digits and a few signs. People read the end of the caller's name, which says most. The digest of the
/// whole name keeps two callers apart: no two may have one name.
pub(super) fn of_caller(caller: &Principal) -> String {
    let name = caller.to_string();
    let plain: Vec<_> = name.chars().map(plain).collect();
    let room = MAX_LENGTH - PREFIX.len() - ".".len() - 2 * DIGEST_BYTES;
    let end: String = plain[plain.len().saturating_sub(room)..].iter().collect();
    format!("{PREFIX}{end}.{}", HEXLOWER.encode(&Sha256::digest(name)[..DIGEST_BYTES]))
}
