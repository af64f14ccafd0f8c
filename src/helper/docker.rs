//! docker's credential helpers: a word as the argument, a server's name or a login on stdin, JSON or an error's text on stdout.
//!
//! An error's text is what the program that asked goes by, and compares whole: what is not here has its own sentence. What is no ECR
//! registry is the next helper's.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Reply, Setup};
use crate::client::{Client, Failure, Query, RegistryCredentials, block_on};
use crate::registry::{DOCKER_HUB, Registry, RegistryError};

/// Programs take it for "there is none, go on without".
pub(super) const NOT_FOUND: &str = "credentials not found in native keychain\n";
const NO_SERVER: &str = "no credentials server URL\n";
const NO_USERNAME: &str = "no credentials username\n";

/// A login, as docker stores and takes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Login {
    #[serde(rename = "ServerURL")]
    pub(super) server: String,
    pub(super) username: String,
    pub(super) secret: String,
}

/// What is said to whoever gives no argument.
#[must_use]
pub fn usage() -> ExitCode {
    Reply::bad("").noting("usage: docker-credential-ecr-broker get|store|erase|list|version").say()
}

/// Answers what is on stdin; `action` is the argument.
#[must_use]
pub fn run(setup: impl FnOnce() -> Result<Setup, String>, action: &str) -> Reply {
    // The others have nothing to say, and somebody may have typed them.
    let question = if matches!(action, "get" | "store" | "erase") { super::question() } else { Ok(String::new()) };
    match (action, question) {
        ("version" | "--version", _) => {
            Reply::good(format!("docker-credential-ecr-broker (ecr-broker) {}\n", env!("CARGO_PKG_VERSION")))
        }
        (_, Ok(question)) => answer(setup(), action, &question),
        (_, Err(error)) => Reply::bad(format!("stdin cannot be read: {error}\n")),
    }
}

fn answer(setup: Result<Setup, String>, action: &str, question: &str) -> Reply {
    let setup = match setup {
        Ok(setup) => setup,
        // docker asks for the list on the way to other things.
        Err(problem) if action == "list" => return Reply::good("{}\n".to_owned()).noting(problem),
        Err(problem) => return Reply::bad(format!("{}\n", one_line(&problem))),
    };
    match action {
        "get" => get(&setup, question),
        "store" => store(&setup, question),
        "erase" => erase(&setup, question.trim()),
        "list" => list(&setup),
        _ => Reply::bad(format!("Unknown credential action `{}`\n", action.escape_debug())),
    }
}

fn get(setup: &Setup, question: &str) -> Reply {
    let server = question.trim();
    if server.is_empty() {
        return Reply::bad(NO_SERVER);
    }
    let registry = match whose(server) {
        Ok(RegistryOwner::Ecrs(registry)) => registry,
        Ok(RegistryOwner::Anothers(host)) => return get_of_another(setup, server, host.as_deref()),
        Err(problem) => return Reply::bad(format!("{}\n", one_line(&problem))),
    };
    match fetch(setup, server) {
        Ok(credentials) => login(server, &credentials),
        Err(failure) => match (setup.fall_back(&failure, &["get"], question), registry) {
            (Ok(reply), _) => reply,
            (Err(problem), Registry::Private(_)) => Reply::bad(format!("{}\n", one_line(&problem))),
            // It can be pulled from without a login.
            (Err(problem), Registry::Public { .. }) => Reply::bad(NOT_FOUND).noting(problem),
        },
    }
}

fn login(server: &str, credentials: &RegistryCredentials) -> Reply {
    let login = json!({ "ServerURL": server, "Username": credentials.username, "Secret": credentials.password });
    Reply::good(format!("{login}\n"))
}

/// What is no host of ECR's is an alias of the broker's, or the next helper's. A login that somebody has stored with that goes before a refusal.
fn get_of_another(setup: &Setup, server: &str, host: Option<&str>) -> Reply {
    let next = || setup.next.as_ref().map_or_else(|| Reply::bad(NOT_FOUND), |next| next.get(server));
    let Some(host) = host else { return next() };
    match fetch_alias(setup, host) {
        Ok(credentials) => login(server, &credentials),
        Err(AliasLookup::Not) => next(),
        Err(AliasLookup::Unknown(failure)) => {
            let reply = next();
            let note = format!("whether it is an alias of the broker's is not known: {failure}");
            if reply.well || !reply.stderr.is_empty() { reply } else { reply.noting(note) }
        }
        Err(AliasLookup::Refused(failure)) => match next() {
            reply if reply.well => reply,
            _ => Reply::bad(format!("{}\n", one_line(&failure.to_string()))),
        },
    }
}

/// Whose registry a server's name is.
pub(super) enum RegistryOwner {
    /// ECR's.
    Ecrs(Registry),
    /// Somebody's; by this name it might be an alias of the broker's.
    Anothers(Option<String>),
}

/// By its host alone.
///
/// # Errors
/// Where it would be ECR's, and is written wrong.
pub(super) fn whose(server: &str) -> Result<RegistryOwner, String> {
    match server.parse() {
        Ok(registry) => Ok(RegistryOwner::Ecrs(registry)),
        Err(RegistryError::NotEcr { host }) => {
            let may_be_alias = host.contains(['.', ':']) && !DOCKER_HUB.contains(&host.as_str());
            Ok(RegistryOwner::Anothers(may_be_alias.then_some(host)))
        }
        Err(error @ RegistryError::Invalid(_)) if [".dkr.ecr", ".dkr-ecr"].iter().any(|part| server.contains(part)) => {
            Err(error.to_string())
        }
        Err(RegistryError::Invalid(_)) => Ok(RegistryOwner::Anothers(None)),
    }
}

/// Why there are no credentials for what may be an alias.
pub(super) enum AliasLookup {
    /// It is none.
    Not,
    /// The broker did not get as far as saying that.
    Unknown(Failure),
    /// It is one, and there are none for it.
    Refused(Failure),
}

/// The same of a host that is not ECR's and may be an alias of the broker's. No more than the host is told, for it may be anybody's.
pub(super) fn fetch_alias(setup: &Setup, host: &str) -> Result<RegistryCredentials, AliasLookup> {
    fetch(setup, host).map_err(|failure| match failure.reason.as_deref() {
        Some("REGISTRY_NOT_ECR" | "REGISTRY_INVALID") => AliasLookup::Not,
        // What is about a registry names it; the rest is about the caller or the broker.
        Some(_) if failure.registry.is_some() => AliasLookup::Refused(failure),
        _ => AliasLookup::Unknown(failure),
    })
}

pub(super) fn fetch(setup: &Setup, registry: &str) -> Result<RegistryCredentials, Failure> {
    let query = Query { registry: registry.to_owned(), profile: setup.profile.clone(), min_validity: None };
    let asked = block_on(async {
        let mut client = Client::connect(&setup.settings).await?;
        client.credentials(&[query]).await?.pop().unwrap_or_else(|| Err(Failure::empty_response()))
    });
    asked.unwrap_or_else(|error| Err(Failure::from_io(&error)))
}

/// There is nothing to store for a registry of ECR's; another's login must not be lost.
fn store(setup: &Setup, question: &str) -> Reply {
    let Ok(login) = serde_json::from_str::<Login>(question) else {
        return Reply::bad("the login is not of the form {\"ServerURL\":…,\"Username\":…,\"Secret\":…}\n");
    };
    if login.server.is_empty() {
        return Reply::bad(NO_SERVER);
    }
    if login.username.is_empty() {
        return Reply::bad(NO_USERNAME);
    }
    match (whose(&login.server), &setup.next) {
        (Ok(RegistryOwner::Ecrs(_)), _) => {
            Reply::good(String::new()).noting("not stored: the broker has the credentials of ECR's registries")
        }
        (Err(problem), _) => Reply::bad(format!("{}\n", one_line(&problem))),
        (Ok(RegistryOwner::Anothers(_)), Some(next)) => next.store(&login),
        (Ok(RegistryOwner::Anothers(_)), None) => Reply::bad(
            "ecr-broker keeps no logins; name a helper or a file that does as next in client.toml, such as next = \"secretservice\"\n",
        ),
    }
}

/// Nothing of what is not kept is left.
fn erase(setup: &Setup, server: &str) -> Reply {
    match &setup.next {
        _ if server.is_empty() => Reply::bad(NO_SERVER),
        Some(next) if server.parse::<Registry>().is_err() => next.erase(server),
        _ => Reply::good(String::new()),
    }
}

/// What is held for the caller now, and what the next helper has. Never an error: docker asks for it on the way to other things.
fn list(setup: &Setup) -> Reply {
    let held = block_on(async { Client::connect(&setup.settings).await?.cached_registries().await });
    let (held, mut problems) = match held {
        Ok(Ok(held)) => (held, Vec::new()),
        Ok(Err(failure)) => (Vec::new(), vec![failure.to_string()]),
        Err(error) => (Vec::new(), vec![error.to_string()]),
    };
    let mut all: Map<_, _> = held.into_iter().map(|host| (format!("https://{host}"), Value::from("AWS"))).collect();
    match setup.next.as_ref().map(super::delegate::Next::list) {
        // What another has of ECR's is not asked for.
        Some(Ok(theirs)) => all.extend(theirs.into_iter().filter(|(server, _)| server.parse::<Registry>().is_err())),
        Some(Err(problem)) => problems.push(problem),
        None => {}
    }
    Reply::good(format!("{}\n", Value::Object(all))).noting(one_line(&problems.join("; ")))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
