//! Protocol of docker's credential helpers: an action as the argument, a server or an entry on stdin, JSON or an error on stdout.
//!
//! docker and other programs compare the whole text of an error. So stdout has exactly the text that docker defines, and notes go to
//! stderr. The delegate answers for registries that the broker does not serve.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::auth_entry::{AuthEntry, NOT_FOUND};
use super::output::{Output, one_line};
use super::resolve::{RegistryOwner, Request, Resolution, fall_back, resolve};
use super::rollout::Stage;
use super::setup::Setup;
use super::stdin;
use crate::client::adoption::Protocol;
use crate::client::{Client, Failure, RegistryCredentials, block_on};
use crate::registry::Registry;

/// Stdin of `list`, as docker writes it.
const UNUSED: &str = "unused";
const NO_SERVER: &str = "no credentials server URL\n";
const NO_USERNAME: &str = "no credentials username\n";
const USAGE: &str = "usage: docker-credential-ecr-broker get|store|erase|list|version";
const HELP: &str = "\
usage: docker-credential-ecr-broker get|store|erase|list|version

docker, podman and their kin run it for the registries under credHelpers in their configuration:
  ecr-broker configure docker 123456789012.dkr.ecr.eu-central-1.amazonaws.com
It reads a registry or an entry on stdin. By hand:
  echo public.ecr.aws | docker-credential-ecr-broker get
It finds the broker as other clients do: ECR_BROKER_ADDRESS, client.toml or the default sockets.
Flags: ecr-broker helper docker --help
";

/// Prints the usage, for a call without arguments.
#[must_use]
pub fn usage() -> ExitCode {
    Output::failed("").with_note(USAGE).print()
}

/// Answers the request on stdin; `action` is the argument.
#[must_use]
pub fn run(setup: impl FnOnce() -> Setup, action: &str) -> Output {
    match action {
        "get" | "store" | "erase" => match stdin::read() {
            Ok(request) => answer(&setup(), action, &request),
            Err(error) => unreadable(action, &error),
        },
        // These have no request on stdin. Reading it would hang if a user runs them in a terminal.
        "list" => answer(&setup(), action, ""),
        _ => Output::for_person("docker-credential-ecr-broker", action, HELP)
            .unwrap_or_else(|| Output::failed(format!("Unknown credential action `{}`\n", action.escape_debug()))),
    }
}

fn answer(setup: &Setup, action: &str, request: &str) -> Output {
    let output = match action {
        "get" => get(setup, request),
        "store" => store(setup, request),
        "erase" => erase(setup, request.trim()),
        _ => list(setup),
    };
    setup.note_mistake(output)
}

fn unreadable(action: &str, error: &std::io::Error) -> Output {
    let problem = format!("cannot read stdin: {error}");
    if action == "get" { not_found(problem) } else { failed(&problem) }
}

fn get(setup: &Setup, stdin: &str) -> Output {
    let server = stdin.trim();
    if server.is_empty() {
        return Output::failed(NO_SERVER);
    }
    let request = Request {
        protocol: Protocol::Docker,
        server,
        fallback_arguments: &["get"],
        stdin,
        fallback_for_aliases: false,
    };
    match resolve(setup, RegistryOwner::of(server), &request) {
        Resolution::Credentials(credentials) => entry(server, *credentials),
        Resolution::Fallback(output) => output,
        Resolution::NotServed => delegated(setup, server, None),
        Resolution::AliasUnknown(problem) => {
            let note = format!("cannot tell whether this host is an alias of the broker: {problem}");
            delegated(setup, server, Some(note))
        }
        // An entry that a user stored with the delegate takes precedence over the broker's refusal.
        Resolution::AliasRefused(problem) => delegated(setup, server, Some(problem)),
        Resolution::PublicFailed(problem) | Resolution::Failed(problem) => not_found(problem),
    }
}

/// Returns the delegate's answer. `problem` is noted if the delegate has none.
fn delegated(setup: &Setup, server: &str, problem: Option<String>) -> Output {
    let answer = setup.delegate.as_ref().map(|delegate| delegate.get(server, setup.time_limit));
    match answer.unwrap_or(Ok(None)) {
        Ok(Some(entry)) => Output::ok(entry),
        Ok(None) => not_found(problem.unwrap_or_default()),
        Err(error) => {
            // A mistake in a file concerns both.
            let problem = problem.filter(|_| !setup.is_mistake(&error));
            not_found(error).and_note(&problem.unwrap_or_default())
        }
    }
}

/// Returns a failed `get` as the text for a missing entry, for any reason, as Amazon's helper does. After any other text podman's remote
/// client and docker's build fail for every registry, because they ask for all entries first.
fn not_found(problem: impl Into<String>) -> Output {
    Output::failed(NOT_FOUND).with_note(problem)
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
        (RegistryOwner::MaybeAlias(_) | RegistryOwner::Other, Some(delegate)) => {
            delegate.store(&entry, setup.time_limit)
        }
        (RegistryOwner::MaybeAlias(_) | RegistryOwner::Other, None) => failed(
            "not stored: ecr-broker stores no credentials; set next in client.toml to a helper or file: next = \"secretservice\"",
        ),
    }
}

/// Passes other registries to the delegate. Does nothing for ECR registries, because `store` keeps no entry of them.
fn erase(setup: &Setup, server: &str) -> Output {
    match &setup.delegate {
        _ if server.is_empty() => Output::failed(NO_SERVER),
        Some(delegate) if !is_ecr(server) => delegate.erase(server, setup.time_limit),
        _ => Output::ok(""),
    }
}

/// Lists the ECR registries and the delegate's entries. Never fails: docker requests the list before other actions.
fn list(setup: &Setup) -> Output {
    let (mut all, mut problems) = match ecr_registries(setup) {
        Ok(registries) => (registries, Vec::new()),
        Err(problem) => (Map::new(), vec![problem]),
    };
    match setup.delegate.as_ref().map(|delegate| delegate.list(setup.time_limit)) {
        Some(Ok(listing)) => {
            // `get` does not use the delegate for ECR registries.
            all.extend(listing.usernames.into_iter().filter(|(server, _)| !is_ecr(server)));
            problems.extend(listing.problems);
        }
        Some(Err(problem)) => {
            // A mistake in a file concerns both.
            problems.retain(|known| !problem.contains(known.as_str()));
            problems.push(problem);
        }
        None => {}
    }
    Output::ok(format!("{}\n", Value::Object(all))).with_note(one_line(&problems.join("; ")))
}

/// Returns the registries that the broker has cached, or those that the fallback lists if it answers.
fn ecr_registries(setup: &Setup) -> Result<Map<String, Value>, String> {
    const ACTION: &[&str] = &["list"];
    let listed = |output: Output| {
        let all: Map<String, Value> = serde_json::from_str(&output.stdout).unwrap_or_default();
        all.into_iter().filter(|(server, _)| is_ecr(server)).collect()
    };
    if let Stage::Shadow(fallback) = Stage::of(setup, Protocol::Docker) {
        return fallback.run(ACTION, UNUSED).map(listed).map_err(|problem| problem.text);
    }
    let failure = match cached_registries(setup) {
        Ok(cached) => return Ok(cached.into_iter().map(|host| (format!("https://{host}"), "AWS".into())).collect()),
        Err(failure) => failure,
    };
    let (protocol, server, fallback_for_aliases) = (Protocol::Docker, "", false);
    let request = Request { protocol, server, fallback_arguments: ACTION, stdin: UNUSED, fallback_for_aliases };
    fall_back(setup, &failure, &request).map(listed)
}

fn cached_registries(setup: &Setup) -> Result<Vec<String>, Failure> {
    let broker = setup.broker()?;
    let cached = block_on(async { Client::connect(&broker.settings).await?.cached_registries().await });
    cached.unwrap_or_else(|error| Err(Failure::from_io(&error)))
}

fn is_ecr(server: &str) -> bool {
    server.parse::<Registry>().is_ok()
}

/// Returns an error in the form that docker shows: one line on stdout.
fn failed(problem: &str) -> Output {
    Output::failed(one_line(problem) + "\n")
}
