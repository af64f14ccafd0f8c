//! Delegate for registries that the broker does not serve: another credential helper, or an auth file of docker or podman.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::auth_entry::{AuthEntry, NOT_FOUND, is_same_registry};
use super::output::Output;
use super::subprocess::run;
use crate::environment;
use crate::json_file::{self, FileMode, read};

/// Delegate, `next` in `client.toml`: a helper's name, or a file if the text contains a slash.
#[derive(Debug)]
pub(super) enum Delegate {
    Helper(String),
    File(PathBuf),
}

impl From<&str> for Delegate {
    fn from(text: &str) -> Self {
        if text.contains('/') { Self::File(text.into()) } else { Self::Helper(text.to_owned()) }
    }
}

impl Delegate {
    pub(super) fn get(&self, server: &str) -> Output {
        let file = match self {
            Self::Helper(name) => return run_helper(name, "get", server),
            Self::File(file) => file,
        };
        match read(file).map(|config| AuthEntry::find(&config, server)) {
            Ok(Some(entry)) => Output::ok(entry.message() + "\n"),
            Ok(None) => Output::failed(NOT_FOUND),
            Err(problem) => Output::failed(problem + "\n"),
        }
    }

    pub(super) fn store(&self, entry: &AuthEntry) -> Output {
        match self {
            Self::Helper(name) => run_helper(name, "store", &entry.message()),
            Self::File(file) => change(file, |auths| {
                auths.insert(entry.server.clone(), entry.file_value());
            }),
        }
    }

    pub(super) fn erase(&self, server: &str) -> Output {
        match self {
            Self::Helper(name) => run_helper(name, "erase", server),
            Self::File(file) => change(file, |auths| auths.retain(|name, _| !is_same_registry(name, server))),
        }
    }

    /// Returns the username of each registry.
    pub(super) fn list(&self) -> Result<Map<String, Value>, String> {
        match self {
            Self::Helper(name) => {
                let output = run_helper(name, "list", "unused");
                let list = serde_json::from_str(&output.stdout).ok().filter(|_| output.success);
                list.ok_or_else(|| format!("docker-credential-{name} list failed: {}", output.stdout.trim()))
            }
            Self::File(file) => {
                let config = read(file)?;
                let auths = config.get("auths").and_then(Value::as_object).into_iter().flatten();
                let entries = auths.filter_map(|(name, value)| AuthEntry::from_file_value(name, value));
                Ok(entries.map(|entry| (entry.server, Value::from(entry.username))).collect())
            }
        }
    }
}

/// Runs the other helper and returns its output unchanged, because docker compares the texts.
fn run_helper(name: &str, action: &str, request: &str) -> Output {
    let program = format!("docker-credential-{name}");
    match run(&program, &[action], request) {
        Ok(output) if output.success || !output.stdout.trim().is_empty() => output,
        Ok(_) => Output::failed(format!("{program} (next in client.toml) failed without a message; run it by hand\n")),
        Err(error) => Output::failed(format!("{program} (next in client.toml) cannot be run: {error}\n")),
    }
}

fn change(file: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Output {
    let change_auths = |config: &mut Map<String, Value>| match config.entry("auths").or_insert_with(|| json!({})) {
        Value::Object(auths) => {
            change(auths);
            Ok(())
        }
        _ => Err(format!("{}: auths is not an object; correct the file", file.display())),
    };
    match reject_docker_config(file).and_then(|()| json_file::update(file, FileMode::Keep, change_auths)) {
        Ok(_) => Output::ok(""),
        Err(problem) => Output::failed(problem + "\n"),
    }
}

/// Rejects docker's own file. After a helper's `store`, docker writes back the contents that it read before, so the new entry would be
/// lost.
fn reject_docker_config(file: &Path) -> Result<(), String> {
    let home = || Some(environment::path("HOME")?.join(".docker"));
    let directory = environment::path("DOCKER_CONFIG").or_else(home);
    if directory.is_some_and(|directory| is_same_file(&directory.join("config.json"), file)) {
        return Err(format!(
            "{} is docker's own file: docker would overwrite the entry; set next in client.toml to another file",
            file.display()
        ));
    }
    Ok(())
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}
