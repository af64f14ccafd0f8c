//! The bearer token's file. The token is looked into as far as its own end, believed for nothing, and never told.

use std::path::Path;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::files::{Broken, Held, read};
use super::time::{at, rfc3339, span};
use crate::exit_code::Exit;

/// What the broker allows for clocks.
const LEEWAY: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
}

pub(super) fn look(path: &Path, now: SystemTime) -> Held {
    // What is read here the calls would not find again.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return Ok("not looked into, for it is no regular file; every call reads it anew, which a pipe such as <(…) gives to one call only: then name a file".to_owned());
    }
    let bytes = zeroize::Zeroizing::new(read(path)?);
    let token = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let fix =
        "have whoever writes it (kubelet, the CI system, a cron job) write a new token, for the broker's audience";
    if token.is_empty() {
        return Err(Broken::new("is empty, or is no text", fix));
    }
    let Some(end) = end(token) else {
        return Ok("no JSON Web Token, and the broker takes no others".to_owned());
    };
    match end.duration_since(now) {
        Ok(left) => Ok(format!("a token until {}, {} from now", rfc3339(end), span(left))),
        Err(since) if since.duration() <= LEEWAY => Ok("a token that ends now".to_owned()),
        Err(since) => {
            let problem = format!("its token expired at {}, {} ago", rfc3339(end), span(since.duration()));
            Err(Broken {
                exit: Exit::Denied,
                ..Broken::new(problem, format!("{fix}; where it is new, set this machine's clock"))
            })
        }
    }
}

/// `exp`, of a token that has one.
fn end(token: &str) -> Option<SystemTime> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    let since = Duration::try_from_secs_f64(exp?).ok()?;
    at(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2lnbmF0dXJl", BASE64URL_NOPAD.encode(claims.as_bytes()))
    }

    #[test]
    fn a_token_s_end_is_read_and_nothing_else_of_it_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let now = at(1_000_000).unwrap();
        for (text, good, said) in [
            (token(r#"{"exp":1000090,"sub":"s3cret"}"#), true, "1m 30s from now"),
            (token(r#"{"exp":1000000.5,"sub":"s3cret"}"#), true, "0s from now"),
            (token(r#"{"exp":999980,"sub":"s3cret"}"#), true, "ends now"),
            (token(r#"{"exp":999900,"sub":"s3cret"}"#), false, "1m 40s ago"),
            (token(r#"{"exp":1e300,"sub":"s3cret"}"#), true, "no JSON Web Token"),
            (token(r#"{"sub":"s3cret"}"#), true, "no JSON Web Token"),
            ("s3cret".to_owned(), true, "no JSON Web Token"),
            ("  \n".to_owned(), false, "is empty"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let told = match look(file.path(), now) {
                Ok(told) => (true, told),
                Err(broken) => (false, format!("{} {}", broken.problem, broken.fix)),
            };
            assert!(told.0 == good && told.1.contains(said) && !told.1.contains("s3cret"), "{said}: {told:?}");
        }
    }

    #[test]
    fn what_can_be_read_once_is_left_to_the_call() {
        use std::io::{Read as _, Write as _};
        use std::os::fd::AsRawFd as _;
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"s3cret").unwrap();
        drop(writer);
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let told = look(path.as_ref(), at(1_000_000).unwrap()).unwrap();
        assert!(told.contains("no regular file") && told.contains("name a file"), "{told}");
        let mut left = String::new();
        reader.read_to_string(&mut left).unwrap();
        assert_eq!(left, "s3cret");
        assert!(look("/".as_ref(), at(1_000_000).unwrap()).unwrap_err().problem.contains("cannot be read"));
    }
}
