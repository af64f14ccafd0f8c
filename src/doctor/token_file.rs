//! Checks the bearer token's file. Reads the token's expiry, verifies nothing, and never prints the token.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::files::{FileCheck, FileProblem, read};
use super::problem::Problem;
use super::time_text::{duration, rfc3339};
use crate::client::token::Claims;

/// The clock difference that the broker accepts.
const LEEWAY: Duration = Duration::from_secs(30);
const NOT_READ: &str = "not read, because it is not a regular file: every call reads it again, so a pipe such as <(…) serves one call only; name a regular file then";
const WRITE_NEW_TOKEN: &str =
    "make its writer (kubelet, CI, a cron job) write a new token for the broker's audience; check the clock too";

pub(super) fn check(path: &Path, now: SystemTime) -> FileCheck {
    if is_special(path) {
        return Ok(NOT_READ.to_owned());
    }
    let bytes = zeroize::Zeroizing::new(read(path)?);
    let token = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    if token.is_empty() {
        return Err(FileProblem::new(Problem::TokenFileEmpty, "", WRITE_NEW_TOKEN));
    }
    match Claims::of(token).and_then(|claims| claims.expires) {
        Some(end) => check_expiry(end, now),
        None => Ok("not a JSON Web Token, and the broker accepts no other tokens".to_owned()),
    }
}

/// A check that reads a pipe would leave the calls without the token.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn check_expiry(end: SystemTime, now: SystemTime) -> FileCheck {
    match end.duration_since(now) {
        Ok(left) => Ok(format!("a token until {}, {} from now", rfc3339(end), duration(left))),
        Err(since) if since.duration() <= LEEWAY => Ok("a token that expires now".to_owned()),
        Err(since) => {
            let facts = format!("at {}, {} ago", rfc3339(end), duration(since.duration()));
            Err(FileProblem::new(Problem::TokenExpired, facts, WRITE_NEW_TOKEN))
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;
    use crate::doctor::time_text::from_unix;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2lnbmF0dXJl", BASE64URL_NOPAD.encode(claims.as_bytes()))
    }

    #[test]
    fn token_expiry_is_printed_and_the_token_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let now = from_unix(1_000_000).unwrap();
        for (text, usable, expected) in [
            (token(r#"{"exp":1000090,"sub":"s3cret"}"#), true, "1m 30s from now"),
            (token(r#"{"exp":1000000.5,"sub":"s3cret"}"#), true, "0s from now"),
            (token(r#"{"exp":999980,"sub":"s3cret"}"#), true, "expires now"),
            (token(r#"{"exp":999900,"sub":"s3cret"}"#), false, "1m 40s ago"),
            (token(r#"{"exp":1e300,"sub":"s3cret"}"#), true, "not a JSON Web Token"),
            (token(r#"{"sub":"s3cret"}"#), true, "not a JSON Web Token"),
            ("s3cret".to_owned(), true, "not a JSON Web Token"),
            ("  \n".to_owned(), false, "TokenFileEmpty"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let checked = check(file.path(), now);
            let text = format!("{checked:?}");
            assert!(checked.is_ok() == usable && text.contains(expected) && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn token_pipe_is_left_to_the_call() {
        use std::io::{Read as _, Write as _};
        use std::os::fd::AsRawFd as _;
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"s3cret").unwrap();
        drop(writer);
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let text = check(path.as_ref(), from_unix(1_000_000).unwrap()).unwrap();
        assert!(text.contains("not a regular file") && text.contains("name a regular file"), "{text}");
        let mut left = String::new();
        reader.read_to_string(&mut left).unwrap();
        assert_eq!(left, "s3cret");
        let directory = check("/".as_ref(), from_unix(1_000_000).unwrap()).unwrap_err();
        assert_eq!(directory.problem, Problem::FileUnreadable);
    }
}
