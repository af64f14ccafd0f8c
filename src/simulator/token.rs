//! Registry tokens of the true shape and size, which open nothing.

use std::time::Duration;

use data_encoding::BASE64;
use serde::Serialize;

/// What such a password says about itself to whoever decodes it.
const CONFESSION: &str = "by ecr-broker, opens nothing";
/// How many random bytes the payload has: tokens of 2.3 to 4.4 KB, for AWS promises no size.
const PAYLOAD: std::ops::RangeInclusive<usize> = 700..=1500;
const DATA_KEY: usize = 184;

/// What ECR's passwords decode to. The random payload is first because `htpasswd`'s bcrypt compares only 72 bytes: passwords
/// with the same beginning would all open a registry that is set up with one of them.
#[derive(Serialize)]
struct Password {
    payload: String,
    datakey: String,
    version: &'static str,
    r#type: &'static str,
    expiration: u64,
    simulated: &'static str,
}

/// A new token that ends at `expiration`, counted from 1970.
pub(super) fn authorization_token(expiration: Duration) -> String {
    BASE64.encode(format!("AWS:{}", password(expiration)).as_bytes())
}

fn password(expiration: Duration) -> String {
    let password = Password {
        payload: random_text(fastrand::usize(PAYLOAD)),
        datakey: random_text(DATA_KEY),
        version: "2",
        r#type: "DATA_KEY",
        expiration: expiration.as_secs(),
        simulated: CONFESSION,
    };
    // Texts and a number always serialise, so the empty password never comes about.
    BASE64.encode(&serde_json::to_vec(&password).unwrap_or_default())
}

/// Base64 of that many random bytes. They need not be hard to guess: nothing trusts them.
pub(super) fn random_text(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    fastrand::fill(&mut random);
    BASE64.encode(&random)
}
