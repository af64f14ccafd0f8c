//! A registry's username and secret in docker's two formats: the helper protocol's message and an entry of an auth file.

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::registry_auth::basic;

/// Message of the helper protocol when there is no entry. Programs compare the whole text, and then continue without credentials.
pub(super) const NOT_FOUND: &str = "credentials not found in native keychain\n";
/// Username that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";
/// Username that docker writes into `auth` beside an identity token, for programs that read only `auth`.
const PLACEHOLDER_USER: &str = "00000000-0000-0000-0000-000000000000";

/// Username and secret of a registry. The type has no Debug, so that no secret is printed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AuthEntry {
    /// Name of the registry as the caller wrote it.
    #[serde(rename = "ServerURL")]
    pub(super) server: String,
    pub(super) username: String,
    pub(super) secret: String,
}

impl AuthEntry {
    /// Parses the message that docker sends to `store`.
    pub(super) fn from_message(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns the message that `get` answers with.
    pub(super) fn message(&self) -> String {
        let Self { server, username, secret } = self;
        json!({ "ServerURL": server, "Username": username, "Secret": secret }).to_string()
    }

    /// Returns the entry of an auth file.
    pub(super) fn file_value(&self) -> Value {
        let Self { username, secret, .. } = self;
        if username == TOKEN_USER {
            json!({ "auth": basic(PLACEHOLDER_USER, ""), "identitytoken": secret })
        } else {
            json!({ "auth": basic(username, secret) })
        }
    }

    /// Reads an entry of an auth file; docker leaves empty ones behind.
    pub(super) fn from_file_value(server: &str, value: &Value) -> Option<Self> {
        let entry = |username: &str, secret: &str| {
            Some(Self { server: server.to_owned(), username: username.to_owned(), secret: secret.to_owned() })
        };
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return entry(TOKEN_USER, token);
        }
        if let (Some(username), Some(password)) = (text("username"), text("password")) {
            return entry(username, password);
        }
        let auth = BASE64.decode(text("auth")?.as_bytes()).ok()?;
        let (username, secret) = std::str::from_utf8(&auth).ok()?.split_once(':')?;
        entry(username, secret.trim_end_matches('\0'))
    }

    /// Finds a registry's entry in an auth file: under its exact name, or under another name of the same registry.
    pub(super) fn find(config: &Map<String, Value>, server: &str) -> Option<Self> {
        let auths = config.get("auths")?.as_object()?;
        let exact = auths.get(server).and_then(|value| Self::from_file_value(server, value));
        exact.or_else(|| {
            let same = auths.iter().filter(|(name, _)| is_same_registry(name, server));
            same.into_iter().find_map(|(_, value)| Self::from_file_value(server, value))
        })
    }
}

/// Returns whether both names mean the same registry as a whole. podman also has entries for single repositories, which do not count.
pub(super) fn is_same_registry(name: &str, server: &str) -> bool {
    registry_host(name).is_some_and(|host| Some(host) == registry_host(server))
}

fn registry_host(name: &str) -> Option<&str> {
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest).trim_end_matches('/');
    match rest.split_once('/') {
        None => Some(rest),
        Some((host, "v1" | "v2")) => Some(host),
        Some(_) => None,
    }
    .map(|host| if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host })
}
