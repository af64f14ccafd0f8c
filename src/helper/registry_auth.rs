//! Credentials as a request to a registry carries them.

use data_encoding::{BASE64, Encoding};

use crate::client::{AuthScheme, RegistryCredentials};

/// Name of docker's credential helper in docker's and podman's files: they run docker-credential-ecr-broker.
pub const HELPER_NAME: &str = "ecr-broker";

/// Returns the value of Basic authentication, which is also the `auth` field of docker's auth files.
#[must_use]
pub fn basic(username: &str, password: &str) -> String {
    BASE64.encode(format!("{username}:{password}").as_bytes())
}

/// Parses the `auth` field of docker's auth files, with a username that is not empty. It decodes what Go's `StdEncoding` decodes,
/// as in docker, podman and crane: lines may be wrapped, and the spare bits of the last character may be set.
#[must_use]
pub(crate) fn parse_basic(auth: &str) -> Option<(String, String)> {
    // The decoder would also take several padded texts after each other.
    if auth.trim_end_matches(['=', '\r', '\n']).contains('=') {
        return None;
    }
    let decoded = lenient_base64()?.decode(auth.as_bytes()).ok()?;
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    (!username.is_empty()).then(|| (username.to_owned(), password.to_owned()))
}

fn lenient_base64() -> Option<Encoding> {
    let mut specification = BASE64.specification();
    specification.check_trailing_bits = false;
    specification.ignore.push_str("\r\n");
    specification.encoding().ok()
}

/// Returns the Authorization header of a direct request.
#[must_use]
pub fn authorization(credentials: &RegistryCredentials) -> String {
    let scheme = if credentials.auth_scheme() == AuthScheme::Bearer { "Bearer" } else { "Basic" };
    format!("{scheme} {}", basic(&credentials.username, &credentials.password))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `user:s3cret` and variants. The comments name Go's error, if it has one.
    #[test]
    fn auth_field_is_decoded_as_go_decodes_it() {
        let expected = Some(("user".to_owned(), "s3cret".to_owned()));
        for auth in ["dXNlcjpzM2NyZXQ=", "dXNlcjpz\r\nM2NyZXQ=\n", "dXNlcjpzM2NyZXR=", "dXNl\ncjpzM2NyZXQ\n="] {
            assert_eq!(parse_basic(auth), expected, "{auth:?}");
        }
        for auth in [
            "dXNlcjpzM2NyZXQ",      // without padding: illegal base64 data
            " dXNlcjpzM2NyZXQ=",    // a space: illegal base64 data
            "dXNlcjpzM2NyZXQ=dXNl", // data after the padding: illegal base64 data
            "dXNlcjpzM2NyZX-_",     // the URL alphabet: illegal base64 data
            "dXNlcg==",             // without a colon: invalid auth configuration file
            "OnMzY3JldA==",         // without a username: invalid auth configuration file
            "",
        ] {
            assert_eq!(parse_basic(auth), None, "{auth:?}");
        }
    }
}
