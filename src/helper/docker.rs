//! Protocol of docker's credential helpers: an action as the argument, a server or an entry on stdin, JSON or an error on stdout.
//!
//! docker and other programs compare the whole text of an error. So stdout has exactly the text that docker defines, and notes go to
//! stderr. The delegate answers for registries that the broker does not serve.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::auth_entry::{AuthEntry, NOT_FOUND};
use super::delegate::Delegate;
use super::output::Output;
use super::resolve::{RegistryOwner, Request, Resolution, resolve};
use super::setup::Setup;
use super::stdin;
use crate::client::{Client, RegistryCredentials, block_on};
use crate::registry::Registry;

const NO_SERVER: &str = "no credentials server URL\n";
const NO_USERNAME: &str = "no credentials username\n";

/// Prints the usage, for a call without arguments.
#[must_use]
pub fn usage() -> ExitCode {
    Output::failed("").with_note("usage: docker-credential-ecr-broker get|store|erase|list|version").print()
}

/// Answers the request on stdin; `action` is the argument.
#[must_use]
pub fn run(setup: impl FnOnce() -> Result<Setup, String>, action: &str) -> Output {
    // Other actions have no request on stdin. Reading it would hang if a user runs them in a terminal.
    let request = if matches!(action, "get" | "store" | "erase") { stdin::read() } else { Ok(String::new()) };
    match (action, request) {
        ("version" | "--version", _) => {
            Output::ok(format!("docker-credential-ecr-broker (ecr-broker) {}\n", env!("CARGO_PKG_VERSION")))
        }
        (_, Ok(request)) => answer(setup(), action, &request),
        (_, Err(error)) => failed(&format!("cannot read stdin: {error}")),
    }
}

fn answer(setup: Result<Setup, String>, action: &str, request: &str) -> Output {
    let setup = match setup {
        Ok(setup) => setup,
        // docker requests the list before other actions; an error would fail those.
        Err(problem) if action == "list" => return Output::ok("{}\n").with_note(problem),
        Err(problem) => return failed(&problem),
    };
    match action {
        "get" => get(&setup, request),
        "store" => store(&setup, request),
        "erase" => erase(&setup, request.trim()),
        "list" => list(&setup),
        _ => Output::failed(format!("Unknown credential action `{}`\n", action.escape_debug())),
    }
}

fn get(setup: &Setup, stdin: &str) -> Output {
    let server = stdin.trim();
    if server.is_empty() {
        return Output::failed(NO_SERVER);
    }
    let request = Request { server, fallback_arguments: &["get"], stdin, fallback_for_aliases: false };
    let delegate =
        || setup.delegate.as_ref().map_or_else(|| Output::failed(NOT_FOUND), |delegate| delegate.get(server));
    match resolve(Ok(setup), RegistryOwner::of(server), &request) {
        Resolution::Credentials(credentials) => entry(server, *credentials),
        Resolution::Fallback(output) => output,
        Resolution::NotServed => delegate(),
        Resolution::AliasUnknown(problem) => {
            let output = delegate();
            let note = format!("cannot tell whether this host is an alias of the broker: {problem}");
            if output.success || !output.stderr.is_empty() { output } else { output.with_note(note) }
        }
        // An entry that a user stored with the delegate takes precedence over the broker's refusal.
        Resolution::AliasRefused(problem) => {
            Some(delegate()).filter(|output| output.success).unwrap_or_else(|| failed(&problem))
        }
        // The public registry also allows anonymous pulls.
        Resolution::PublicFailed(problem) => Output::failed(NOT_FOUND).with_note(problem),
        Resolution::Failed(problem) => failed(&problem),
    }
}

fn entry(server: &str, credentials: RegistryCredentials) -> Output {
    let RegistryCredentials { username, password: secret, .. } = credentials;
    Output::ok(AuthEntry { server: server.to_owned(), username, secret }.message() + "\n")
}

/// Passes entries of other registries to the delegate. Drops entries of ECR registries: the broker provides their credentials.
fn store(setup: &Setup, stdin: &str) -> Output {
    let Some(entry) = AuthEntry::from_message(stdin) else {
        return failed("malformed credential on stdin; expected {\"ServerURL\":…,\"Username\":…,\"Secret\":…}");
    };
    if entry.server.is_empty() {
        return Output::failed(NO_SERVER);
    }
    if entry.username.is_empty() {
        return Output::failed(NO_USERNAME);
    }
    match (RegistryOwner::of(&entry.server), &setup.delegate) {
        (RegistryOwner::Ecr(_), _) => {
            Output::ok("").with_note("not stored: the broker provides the credentials of ECR registries")
        }
        (RegistryOwner::Malformed(problem), _) => failed(&problem),
        (RegistryOwner::MaybeAlias(_) | RegistryOwner::Other, Some(delegate)) => delegate.store(&entry),
        (RegistryOwner::MaybeAlias(_) | RegistryOwner::Other, None) => failed(
            "not stored: ecr-broker stores no credentials; set next in client.toml to a helper or file: next = \"secretservice\"",
        ),
    }
}

/// Passes other registries to the delegate. Does nothing for ECR registries, because `store` keeps no entry of them.
fn erase(setup: &Setup, server: &str) -> Output {
    match &setup.delegate {
        _ if server.is_empty() => Output::failed(NO_SERVER),
        Some(delegate) if !is_ecr(server) => delegate.erase(server),
        _ => Output::ok(""),
    }
}

/// Lists the broker's cached registries and the delegate's entries. Never fails: docker requests the list before other actions.
fn list(setup: &Setup) -> Output {
    let cached = block_on(async { Client::connect(&setup.settings).await?.cached_registries().await });
    let (cached, mut problems) = match cached {
        Ok(Ok(cached)) => (cached, Vec::new()),
        Ok(Err(failure)) => (Vec::new(), vec![failure.to_string()]),
        Err(error) => (Vec::new(), vec![error.to_string()]),
    };
    let mut all: Map<_, _> = cached.into_iter().map(|host| (format!("https://{host}"), Value::from("AWS"))).collect();
    match setup.delegate.as_ref().map(Delegate::list) {
        // `get` does not use the delegate for ECR registries.
        Some(Ok(entries)) => all.extend(entries.into_iter().filter(|(server, _)| !is_ecr(server))),
        Some(Err(problem)) => problems.push(problem),
        None => {}
    }
    Output::ok(format!("{}\n", Value::Object(all))).with_note(one_line(&problems.join("; ")))
}

fn is_ecr(server: &str) -> bool {
    server.parse::<Registry>().is_ok()
}

/// Returns an error in the form that docker shows: one line on stdout.
fn failed(problem: &str) -> Output {
    Output::failed(one_line(problem) + "\n")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
