//! A registry's username and secret in docker's two formats: the helper protocol's message and an entry of an auth file.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::registry_auth::{basic, parse_basic};
use crate::quoted::Quoted;

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

    /// Reads an entry of an auth file as docker does: `auth` precedes `username` and `password`. docker leaves empty entries behind.
    ///
    /// # Errors
    /// Returns an error if `auth` cannot be decoded; docker, podman and crane refuse it too.
    pub(super) fn from_file_value(server: &str, value: &Value) -> Result<Option<Self>, String> {
        let entry = |username: &str, secret: &str| {
            Some(Self { server: server.to_owned(), username: username.to_owned(), secret: secret.to_owned() })
        };
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(entry(TOKEN_USER, token));
        }
        if let Some(auth) = text("auth") {
            let (username, secret) = parse_basic(auth).ok_or_else(|| {
                format!("auth of {} is not base64 of USERNAME:PASSWORD; log in again", Quoted(server))
            })?;
            return Ok(entry(&username, secret.trim_matches('\0')));
        }
        Ok(text("username").zip(text("password")).and_then(|(username, password)| entry(username, password)))
    }

    /// Finds a registry's entry in an auth file: under its exact name, or under another name of the same registry.
    ///
    /// # Errors
    /// Returns an error if the entry cannot be decoded.
    pub(super) fn find(config: &Map<String, Value>, server: &str) -> Result<Option<Self>, String> {
        let Some(auths) = config.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let exact = auths.get_key_value(server).into_iter();
        let same = auths.iter().filter(|(name, _)| *name != server && is_same_registry(name, server));
        exact.chain(same).find_map(|(_, value)| Self::from_file_value(server, value).transpose()).transpose()
    }
}

/// Returns whether both names mean the same registry as a whole. podman also has entries for single repositories, which do not count.
pub(super) fn is_same_registry(name: &str, server: &str) -> bool {
    registry_host(name).is_some_and(|host| Some(host) == registry_host(server))
}

fn registry_host(name: &str) -> Option<&str> {
    let (is_url, rest) = name.split_once("://").map_or((false, name), |(_, rest)| (true, rest));
    match rest.trim_end_matches('/').split_once('/') {
        None => Some(rest.trim_end_matches('/')),
        // docker once stored URLs of the registry's API.
        Some((host, path)) if is_url || matches!(path, "v1" | "v2") => Some(host),
        Some(_) => None,
    }
    .map(|host| if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host })
}
