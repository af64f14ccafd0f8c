//! Answers of `CreateBearerToken`. A missing or broken part is an error, never a panic (P12), and no error repeats the answer.

use std::time::Duration;

use aws_smithy_types::error::ErrorMetadata;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Maximum length of a token, of the model.
const MAX_TOKEN_BYTES: usize = 4096;

/// A token and its lifetime from the call on.
pub(super) struct BearerToken {
    pub(super) secret: Zeroizing<String>,
    pub(super) expires_in: Duration,
}

#[derive(Deserialize)]
struct Body {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<i64>,
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(alias = "__type")]
    code: Option<String>,
    error: Option<String>,
    message: Option<String>,
}

/// Reads the body of a success.
pub(super) fn read(body: &[u8]) -> Result<BearerToken, &'static str> {
    let Body { access_token, token_type, expires_in } =
        serde_json::from_slice(body).map_err(|_| "the response is not the operation's JSON")?;
    let secret = Zeroizing::new(access_token.ok_or("the response has no token")?);
    if !token_type.is_some_and(|of| of.eq_ignore_ascii_case("bearer")) {
        return Err("the token's type is not Bearer");
    }
    if secret.is_empty() || secret.len() > MAX_TOKEN_BYTES || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the token is not 1 to 4096 printable characters");
    }
    let expires_in = expires_in.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    Ok(BearerToken { secret, expires_in: Duration::from_secs(expires_in.ok_or("the token has no valid lifetime")?) })
}

/// Reads the body of an error. The code is the header's, else the body's; the service's OAuth code is the last resort.
pub(super) fn read_error(header: Option<&str>, body: &[u8]) -> ErrorMetadata {
    let ErrorBody { code, error, message } = serde_json::from_slice(body).unwrap_or_default();
    let mut metadata = ErrorMetadata::builder();
    if let Some(code) = header.map(str::to_owned).or(code).or(error) {
        metadata = metadata.code(bare(&code));
    }
    if let Some(message) = message {
        metadata = metadata.message(message);
    }
    metadata.build()
}

/// Returns the name in `namespace#Name:http://url`.
fn bare(code: &str) -> &str {
    let code = code.split_once(':').map_or(code, |(code, _)| code);
    code.rsplit_once('#').map_or(code, |(_, code)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(body: &str) -> Option<&'static str> {
        read(body.as_bytes()).err()
    }

    #[test]
    fn token_is_read_with_its_lifetime() {
        let body = br#"{"access_token":"abc","token_type":"Bearer","expires_in":900,"more":[1]}"#;
        let Ok(token) = read(body) else { panic!("a valid token") };
        assert_eq!((token.secret.as_str(), token.expires_in.as_secs()), ("abc", 900));
    }

    #[test]
    fn broken_answer_is_an_error_without_its_contents() {
        let with = |token: &str, of: &str, seconds: &str| {
            format!(r#"{{"access_token":{token},"token_type":{of},"expires_in":{seconds}}}"#)
        };
        let long = format!("\"{}\"", "x".repeat(MAX_TOKEN_BYTES + 1));
        for body in [
            String::new(),
            "[]".into(),
            "{}".into(),
            "<html>".into(),
            with("null", "\"Bearer\"", "900"),
            with("17", "\"Bearer\"", "900"),
            with("\"\"", "\"Bearer\"", "900"),
            with("\"a b\"", "\"Bearer\"", "900"),
            with("\"a\\n\"", "\"Bearer\"", "900"),
            with("\"é\"", "\"Bearer\"", "900"),
            with(&long, "\"Bearer\"", "900"),
            with("\"secret\"", "\"MAC\"", "900"),
            with("\"secret\"", "null", "900"),
            with("\"secret\"", "\"Bearer\"", "0"),
            with("\"secret\"", "\"Bearer\"", "-1"),
            with("\"secret\"", "\"Bearer\"", "null"),
            with("\"secret\"", "\"Bearer\"", "1e999"),
            with("\"secret\"", "\"Bearer\"", "\"900\""),
        ] {
            let problem = problem(&body).unwrap_or_else(|| panic!("accepted: {body}"));
            assert!(!problem.contains("secret"), "{problem}");
        }
        let longest = format!("\"{}\"", "x".repeat(MAX_TOKEN_BYTES));
        assert_eq!(problem(&with(&longest, "\"bearer\"", "9223372036854775807")), None);
        assert!(read(b"\xff\xfe").is_err());
    }

    #[test]
    fn error_code_is_the_headers_else_the_bodys() {
        let of = |header, body: &str| read_error(header, body.as_bytes()).code().map(str::to_owned);
        let body = r#"{"error":"invalid_request","message":"no"}"#;
        assert_eq!(of(Some("ValidationException:http://a"), body).as_deref(), Some("ValidationException"));
        assert_eq!(
            of(None, r#"{"__type":"com.amazon#AccessDeniedException"}"#).as_deref(),
            Some("AccessDeniedException")
        );
        assert_eq!(of(None, body).as_deref(), Some("invalid_request"));
        assert_eq!(read_error(None, body.as_bytes()).message(), Some("no"));
        assert_eq!(of(None, "<html>"), None);
    }
}
