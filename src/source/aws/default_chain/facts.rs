//! Facts that the SDK's errors omit: which variable or file it means, and what is wrong with a file that it ignores.
//!
//! The environment is read by the SDK's own reader, so that both see the same.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};

use aws_types::os_shim_internal::{Env, Fs};

use super::names::{CONTAINER, ENVIRONMENT, PROFILE, WEB_IDENTITY};

/// Maximum length of a path that is printed, in bytes. Most tokens are longer.
const MAX_PATH: usize = 255;
/// Minimum length of a JWT's header and of its claims, in bytes.
const MIN_JWT_PART: usize = 10;
const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Returns what to know about a provider that has no credentials. No fact contains a key, a token or a file's content.
pub(super) async fn about(provider: &str) -> Vec<String> {
    let env = Env::real();
    match provider {
        ENVIRONMENT => environment(&env),
        PROFILE => profile(&env).await,
        WEB_IDENTITY => web_identity(&env),
        CONTAINER => file(&env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        _ => Vec::new(),
    }
}

fn environment(env: &Env) -> Vec<String> {
    match (is_set(env, "AWS_ACCESS_KEY_ID"), is_set(env, "AWS_SECRET_ACCESS_KEY")) {
        (false, true) => vec!["AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID".to_owned()],
        (true, false) => vec!["AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY".to_owned()],
        (false, false) => vec!["AWS_ACCESS_KEY_ID".to_owned()],
        (true, true) => Vec::new(),
    }
}

fn web_identity(env: &Env) -> Vec<String> {
    let file = file(env, "AWS_WEB_IDENTITY_TOKEN_FILE");
    if file.is_empty() && is_set(env, "AWS_ROLE_ARN") {
        vec!["AWS_ROLE_ARN is set without it".to_owned()]
    } else {
        file
    }
}

async fn profile(env: &Env) -> Vec<String> {
    let mut facts = value(env, "AWS_PROFILE");
    for path in shared_files(env) {
        facts.extend(file_problem(&path).await);
    }
    facts.extend(parse_problem(env).await);
    facts
}

/// Returns the paths of the SDK's shared files.
pub(super) fn shared_files(env: &Env) -> [PathBuf; 2] {
    [("AWS_CONFIG_FILE", ".aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")]
        .map(|(variable, default)| path(env, variable, default))
}

/// Returns the path of one of the SDK's files.
fn path(env: &Env, variable: &str, default: &str) -> PathBuf {
    let home = env.get("HOME").map_or_else(|_| PathBuf::from("~"), PathBuf::from);
    match env.get(variable) {
        Ok(path) => path.strip_prefix("~/").map_or_else(|| PathBuf::from(&path), |rest| home.join(rest)),
        Err(_) => home.join(default),
    }
}

/// Returns why the SDK takes a file as empty, without an error.
async fn file_problem(path: &Path) -> Option<String> {
    let problem = match tokio::fs::read(path).await {
        Ok(content) => content_problem(&content)?.to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    Some(format!("{} {problem}", shown(&path.to_string_lossy())))
}

fn content_problem(content: &[u8]) -> Option<&'static str> {
    match content {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => Some("is UTF-16; save it as UTF-8"),
        _ if content.starts_with(UTF8_MARK) => Some("begins with a byte order mark; save it without one"),
        _ if content.contains(&0) => Some("contains NUL bytes; save it as UTF-8"),
        _ if str::from_utf8(content).is_err() => Some("is not UTF-8 text"),
        _ => None,
    }
}

/// Returns the file, the line and the mistake that the SDK's parser found. The provider's own error drops them.
#[expect(clippy::default_trait_access, reason = "the type's crate is not a dependency")]
async fn parse_problem(env: &Env) -> Option<String> {
    let error = aws_config::profile::load(&Fs::real(), env, &Default::default(), None).await.err()?;
    let text = error.source()?.to_string();
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn is_set(env: &Env, name: &str) -> bool {
    env.get(name).is_ok_and(|value| !value.trim().is_empty())
}

/// Returns `NAME=path` if the variable is set.
fn file(env: &Env, name: &str) -> Vec<String> {
    let path = env.get(name).ok().filter(|path| !path.is_empty());
    path.map(|path| format!("{name}={}", shown(&path))).into_iter().collect()
}

/// Returns the text if it can only be the path of a file: an operator may set the variable to the token itself by mistake.
fn shown(path: &str) -> &str {
    let is_path = path.starts_with('/') || path.starts_with("~/");
    let is_token = path.len() > MAX_PATH || path.contains(char::is_control) || path.split('/').any(is_like_jwt);
    if is_path && !is_token { path } else { "(not a path)" }
}

fn is_like_jwt(name: &str) -> bool {
    let parts: Vec<_> = name.split('.').collect();
    parts.len() >= 3 && parts[..2].iter().all(|part| part.len() >= MIN_JWT_PART)
}

/// Returns `NAME=value` if the variable is set.
fn value(env: &Env, name: &str) -> Vec<String> {
    env.get(name).ok().filter(|value| !value.is_empty()).map(|value| format!("{name}={value}")).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        Env::from_slice(variables)
    }

    #[test]
    fn half_of_a_pair_of_variables_is_named() {
        let (id, secret) = (("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "secret"));
        assert_eq!(environment(&env(&[id])), ["AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"]);
        assert_eq!(environment(&env(&[secret])), ["AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID"]);
        assert_eq!(environment(&env(&[id, ("AWS_SECRET_ACCESS_KEY", " ")])).len(), 1);
        assert_eq!(web_identity(&env(&[("AWS_ROLE_ARN", "arn")])), ["AWS_ROLE_ARN is set without it"]);
        let file = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/run/token");
        assert_eq!(web_identity(&env(&[("AWS_ROLE_ARN", "arn"), file])), ["AWS_WEB_IDENTITY_TOKEN_FILE=/run/token"]);
        assert!(web_identity(&env(&[])).is_empty());
    }

    #[test]
    fn p10_token_in_place_of_its_files_path_is_not_printed() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
        let long = format!("/{}", "a".repeat(MAX_PATH));
        for (value, is_shown) in [
            ("/var/run/secrets/..data/token", true),
            ("/run/token.2026.jwt", true),
            ("~/token", true),
            (jwt, false),
            (&format!("/{jwt}"), false),
            (&format!("/run/{jwt}"), false),
            ("very-secret", false),
            ("/very\nsecret", false),
            (&long, false),
        ] {
            let fact = if is_shown { value } else { "(not a path)" };
            for name in ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] {
                assert_eq!(file(&env(&[(name, value)]), name), [format!("{name}={fact}")]);
            }
        }
    }

    #[tokio::test]
    async fn file_that_the_sdk_ignores_is_named_with_its_problem() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("credentials");
        for (content, problem) in [
            (&b"\xFF\xFE[\0d\0"[..], Some("is UTF-16; save it as UTF-8")),
            (b"\xFE\xFF\0[\0d", Some("is UTF-16; save it as UTF-8")),
            (b"\xEF\xBB\xBF[default]", Some("begins with a byte order mark; save it without one")),
            (b"[\0d\0", Some("contains NUL bytes; save it as UTF-8")),
            (b"[caf\xE9]", Some("is not UTF-8 text")),
            (b"[default]\n", None),
        ] {
            std::fs::write(&file, content).unwrap();
            let expected = problem.map(|problem| format!("{} {problem}", file.display()));
            assert_eq!(file_problem(&file).await, expected);
        }
        let missing = directory.path().join("missing");
        assert_eq!(file_problem(&missing).await, Some(format!("{} does not exist", missing.display())));
        assert!(file_problem(directory.path()).await.unwrap().contains("cannot be read"));
    }

    #[test]
    fn paths_of_the_files_are_those_of_the_sdk() {
        let home = ("HOME", "/home/ci");
        let of = |variables: &[(&str, &str)]| path(&env(variables), "AWS_CONFIG_FILE", ".aws/config");
        assert_eq!(of(&[home]), Path::new("/home/ci/.aws/config"));
        assert_eq!(of(&[home, ("AWS_CONFIG_FILE", "~/aws.ini")]), Path::new("/home/ci/aws.ini"));
        assert_eq!(of(&[home, ("AWS_CONFIG_FILE", "/etc/aws.ini")]), Path::new("/etc/aws.ini"));
        assert_eq!(of(&[]), Path::new("~/.aws/config"));
    }
}
