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
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_=,.@-".contains(letter);
    let plain: Vec<_> = name.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect();
    let room = MAX_LENGTH - PREFIX.len() - ".".len() - 2 * DIGEST_BYTES;
    let end: String = plain[plain.len().saturating_sub(room)..].iter().collect();
    format!("{PREFIX}{end}.{}", HEXLOWER.encode(&Sha256::digest(name)[..DIGEST_BYTES]))
}
