//! A copy of the user's docker configuration with the registries of `exec`, and without secrets of other registries.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::{Map, Value, json};

use crate::client::RegistryCredentials;
use crate::environment;
use crate::helper::registry_auth::{HELPER_NAME, basic};
use crate::json_file;
use crate::registry::DOCKER_HUB;

/// Docker's configuration file, in its directory.
pub(super) const CONFIG: &str = "config.json";
/// Fields of an entry in `auths` that hold a secret.
const SECRETS: [&str; 4] = ["auth", "password", "identitytoken", "registrytoken"];

/// The registries to add.
#[derive(Debug)]
pub(super) enum Entries<'a> {
    /// The helper answers for them.
    Helper(&'a [RegistryCredentials]),
    /// Their passwords are written.
    Static(&'a [RegistryCredentials]),
}

/// The configuration to write.
#[derive(Debug)]
pub(super) struct DockerConfig {
    pub(super) config: Map<String, Value>,
    /// The user's file, if it has secrets of other registries: the helper reads them there.
    pub(super) delegate: Option<PathBuf>,
}

/// Returns the directory of the user's docker configuration.
pub(super) fn user_directory() -> Option<PathBuf> {
    let home = || Some(environment::path("HOME")?.join(".docker"));
    std::path::absolute(environment::path("DOCKER_CONFIG").or_else(home)?).ok()
}

impl DockerConfig {
    /// Reads the user's configuration and adds the registries.
    pub(super) fn build(directory: Option<&Path>, entries: &Entries<'_>) -> anyhow::Result<Self> {
        let file = directory.map(|directory| directory.join(CONFIG));
        let config = file.as_deref().map_or_else(|| Ok(Map::new()), json_file::read).map_err(anyhow::Error::msg)?;
        Self::of(config, &file.unwrap_or_else(|| CONFIG.into()), entries).map_err(|problem| anyhow!(problem))
    }

    fn of(mut config: Map<String, Value>, file: &Path, entries: &Entries<'_>) -> Result<Self, String> {
        let has_store = config.get("credsStore").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        let servers = take_secrets(json_file::object_mut(&mut config, "auths", file)?);
        let helpers = json_file::object_mut(&mut config, "credHelpers", file)?;
        // With a store docker does not read `auths`.
        let servers = if has_store { Vec::new() } else { servers };
        for server in &servers {
            helpers.entry(server).or_insert_with(|| HELPER_NAME.into());
        }
        let delegate = (!servers.is_empty()).then(|| file.to_owned());
        let (Entries::Helper(all) | Entries::Static(all)) = entries;
        for one in *all {
            match entries {
                Entries::Helper(_) => _ = helpers.insert(one.registry.clone(), HELPER_NAME.into()),
                // docker reads `auths` for an empty name, podman only without one.
                Entries::Static(_) if has_store => _ = helpers.insert(one.registry.clone(), "".into()),
                Entries::Static(_) => _ = helpers.remove(&one.registry),
            }
        }
        if let Entries::Static(all) = entries {
            let auths = json_file::object_mut(&mut config, "auths", file)?;
            let auth = |one: &RegistryCredentials| json!({ "auth": basic(&one.username, &one.password) });
            auths.extend(all.iter().map(|one| (one.registry.clone(), auth(one))));
        }
        Ok(Self { config, delegate })
    }
}

/// Removes the entries with secrets, and returns the names under which docker and podman look for them.
fn take_secrets(auths: &mut Map<String, Value>) -> Vec<String> {
    let has_secret =
        |entry: &Value| SECRETS.iter().any(|field| entry.get(field).is_some_and(|text| text.as_str() != Some("")));
    let servers: Vec<_> = auths.iter().filter(|(_, entry)| has_secret(entry)).map(|(name, _)| name.clone()).collect();
    auths.retain(|name, _| !servers.contains(name));
    servers.into_iter().flat_map(names).collect()
}

/// Returns a server's name as it is written, and its host. Docker Hub has several hosts.
fn names(server: String) -> Vec<String> {
    let host = server.split_once("://").map_or(server.as_str(), |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default().to_owned();
    let hub = DOCKER_HUB.contains(&host.as_str()).then(|| "docker.io".to_owned());
    let mut names: Vec<_> = [server, host].into_iter().chain(hub).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECR: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

    fn of(config: Value, is_static: bool) -> DockerConfig {
        let credentials = RegistryCredentials {
            registry: ECR.into(),
            username: "AWS".into(),
            password: "s3cret".into(),
            ..RegistryCredentials::default()
        };
        let all = [credentials];
        let entries = if is_static { Entries::Static(&all) } else { Entries::Helper(&all) };
        let Value::Object(config) = config else { panic!("an object") };
        DockerConfig::of(config, Path::new("/home/user/.docker/config.json"), &entries).unwrap()
    }

    #[test]
    fn p10_copy_has_no_secret_and_keeps_the_rest() {
        let user = json!({
            "auths": {
                "https://index.docker.io/v1/": { "auth": "dXNlcjpzM2NyZXQ=" },
                "ghcr.io": { "identitytoken": "s3cret" },
                "quay.io": {},
                ECR: { "auth": "QVdTOm9sZA==" },
            },
            "credHelpers": { "gcr.io": "gcloud" },
            "currentContext": "remote",
            "proxies": { "default": { "httpProxy": "http://proxy:3128" } },
        });
        let DockerConfig { config, delegate } = of(user.clone(), false);
        assert_eq!(config["auths"], json!({ "quay.io": {} }));
        assert_eq!(
            config["credHelpers"],
            json!({
                "gcr.io": "gcloud", "https://index.docker.io/v1/": HELPER_NAME, "index.docker.io": HELPER_NAME, "docker.io": HELPER_NAME,
                "ghcr.io": HELPER_NAME, ECR: HELPER_NAME,
            })
        );
        assert_eq!(delegate, Some("/home/user/.docker/config.json".into()));
        for kept in ["currentContext", "proxies"] {
            assert_eq!(config[kept], user[kept], "{kept}");
        }
    }

    #[test]
    fn store_of_other_registries_is_kept_without_a_delegate() {
        let user =
            json!({ "credsStore": "secretservice", "auths": { "ghcr.io": {}, "old.example": { "auth": "eA==" } } });
        let DockerConfig { config, delegate } = of(user.clone(), false);
        assert_eq!(
            Value::from(config),
            json!({
                "credsStore": "secretservice", "auths": { "ghcr.io": {} }, "credHelpers": { ECR: HELPER_NAME },
            })
        );
        assert_eq!(delegate, None);
        assert_eq!(of(user, true).config["credHelpers"], json!({ ECR: "" }));
    }

    #[test]
    fn static_entry_replaces_the_helper() {
        let config = of(json!({ "credHelpers": { ECR: "ecr-login" } }), true).config;
        assert_eq!(Value::from(config), json!({ "credHelpers": {}, "auths": { ECR: { "auth": "QVdTOnMzY3JldA==" } } }));
    }
}
