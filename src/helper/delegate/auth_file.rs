//! Auth file of docker or podman as a delegate.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::environment;
use crate::helper::auth_entry::{AuthEntry, is_same_registry};
use crate::helper::output::Output;
use crate::helper::registry_auth::HELPER_NAME;
use crate::json_file::{self, FileMode};

/// Registries of a delegate, and problems with some of them.
pub(in crate::helper) struct Listing {
    pub(in crate::helper) usernames: Map<String, Value>,
    pub(in crate::helper) problems: Vec<String>,
}

/// Returns the registry's entry.
pub(super) fn get(file: &Path, config: &Map<String, Value>, server: &str) -> Result<Option<AuthEntry>, String> {
    AuthEntry::find(config, server).map_err(|problem| in_file(file, &problem))
}

pub(super) fn list(file: &Path, config: &Map<String, Value>) -> Listing {
    let helpers = objects(config, "credHelpers").filter(|(_, name)| *name != HELPER_NAME);
    let mut usernames: Map<_, _> = helpers.map(|(server, _)| (server.clone(), "".into())).collect();
    let mut problems = Vec::new();
    for (server, value) in objects(config, "auths") {
        match AuthEntry::from_file_value(server, value) {
            Ok(Some(entry)) => _ = usernames.insert(entry.server, entry.username.into()),
            Ok(None) => {}
            Err(problem) => problems.push(in_file(file, &problem)),
        }
    }
    Listing { usernames, problems }
}

/// Returns the helper that a file names for a registry, as podman reads it: such an entry precedes `auths`.
pub(super) fn helper_in<'a>(config: &'a Map<String, Value>, server: &str) -> Option<&'a str> {
    let (_, name) = objects(config, "credHelpers").find(|(host, _)| is_same_registry(host, server))?;
    name.as_str().filter(|name| !name.is_empty() && *name != HELPER_NAME)
}

fn objects<'a>(config: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    config.get(key).and_then(Value::as_object).into_iter().flatten()
}

pub(super) fn change(file: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Output {
    let change_auths = |config: &mut Map<String, Value>| json_file::object_mut(config, "auths", file).map(change);
    match reject_docker_config(file).and_then(|()| json_file::update(file, FileMode::Keep, change_auths)) {
        Ok(_) => Output::ok(""),
        Err(problem) => Output::failed(problem + "\n"),
    }
}

/// Rejects docker's own file. After a helper's `store`, docker writes back the contents that it read before, so the new entry would be
/// lost.
fn reject_docker_config(file: &Path) -> Result<(), String> {
    let home = || Some(environment::path(environment::HOME)?.join(".docker"));
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

fn in_file(file: &Path, problem: &str) -> String {
    format!("{}: {problem}", file.display())
}
