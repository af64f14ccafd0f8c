//! Registry tokens of the real shape and size, which open nothing.

use std::time::Duration;

use data_encoding::BASE64;
use serde::Serialize;

/// The note that a decoded password shows.
const SIMULATED: &str = "by ecr-broker, opens nothing";
/// The random bytes of the payload. Tokens become 2.3 to 4.4 KB long, because AWS promises no size.
const PAYLOAD_BYTES: std::ops::RangeInclusive<usize> = 700..=1500;
const DATA_KEY_BYTES: usize = 184;

/// The decoded form of ECR's passwords. The random payload comes first because `htpasswd`'s bcrypt compares only 72 bytes:
/// passwords with one prefix would all open a registry that is set up with one of them.
#[derive(Serialize)]
struct Password {
    payload: String,
    datakey: String,
    version: &'static str,
    r#type: &'static str,
    expiration: u64,
    simulated: &'static str,
}

/// Returns a new token that expires at `expiration`, counted from 1970.
pub(super) fn authorization_token(expiration: Duration) -> String {
    BASE64.encode(format!("AWS:{}", password(expiration)).as_bytes())
}

/// Returns a new password, which is also the form of short-lived tokens here.
pub(super) fn password(expiration: Duration) -> String {
    let password = Password {
        payload: random_text(fastrand::usize(PAYLOAD_BYTES)),
        datakey: random_text(DATA_KEY_BYTES),
        version: "2",
        r#type: "DATA_KEY",
        expiration: expiration.as_secs(),
        simulated: SIMULATED,
    };
    // Texts and a number always serialise, so the password is never empty.
    BASE64.encode(&serde_json::to_vec(&password).unwrap_or_default())
}

/// Returns the base64 of `bytes` random bytes. They need not be hard to guess: nothing trusts them.
pub(super) fn random_text(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    fastrand::fill(&mut random);
    BASE64.encode(&random)
}
