//! Decides what the broker has for a registry; a protocol translates the [`Resolution`] into its own wire format.

use super::fallback::{Fallback, FallbackProblem};
use super::fetch::fetch;
use super::observer::{self, measured, timed};
use super::output::Output;
use super::rollout::Stage;
use super::setup::Setup;
use super::subprocess::is_nested;
use crate::adoption::{Answer, NOT_RUN, Observation};
use crate::client::adoption::{Mode, Protocol};
use crate::client::{Failure, RegistryCredentials};
use crate::registry::{DOCKER_HUB, Registry, RegistryError, resembles_ecr};

/// Owner of a registry, judging by its name alone.
pub(super) enum RegistryOwner {
    /// ECR.
    Ecr(Registry),
    /// Another owner; the host may be an alias that the broker is configured with.
    MaybeAlias(String),
    /// Another owner; the name cannot be an alias.
    Other,
    /// A name in the form of an ECR host, but malformed: the error.
    Malformed(String),
}

/// The parts of a protocol's request that the decision needs.
pub(super) struct Request<'a> {
    pub(super) protocol: Protocol,
    /// Registry host, URL or image reference.
    pub(super) server: &'a str,
    /// Last arguments of the fallback program.
    pub(super) fallback_arguments: &'a [&'a str],
    /// Stdin of the fallback program.
    pub(super) stdin: &'a str,
    /// Whether the fallback program also answers for hosts that may be aliases.
    pub(super) fallback_for_aliases: bool,
}

/// Answer of the broker for a registry, or the reason that there is none.
pub(super) enum Resolution {
    /// Credentials from the broker.
    Credentials(Box<RegistryCredentials>),
    /// Output of the fallback program.
    Fallback(Output),
    /// A registry that is neither ECR's nor an alias.
    NotServed,
    /// A host that may be an alias, while the broker cannot tell: the error.
    AliasUnknown(String),
    /// An alias without credentials: the error.
    AliasRefused(String),
    /// A public ECR registry without credentials, which also allows anonymous pulls: the error.
    PublicFailed(String),
    /// An ECR registry without credentials: the error.
    Failed(String),
}

/// Result of a request for a host that may be an alias.
enum AliasLookup {
    Found(Box<RegistryCredentials>),
    NotAlias,
    /// The broker did not decide whether the host is an alias.
    Unknown(Failure),
    /// The host is an alias; the broker has no credentials for it.
    Refused(Failure),
}

impl RegistryOwner {
    /// Returns the owner by the host alone.
    pub(super) fn of(server: &str) -> Self {
        match server.parse() {
            Ok(registry) => Self::Ecr(registry),
            Err(RegistryError::NotEcr { host }) if may_be_alias(&host) => Self::MaybeAlias(host),
            Err(error @ RegistryError::Invalid(_)) if resembles_ecr(server) => Self::Malformed(error.to_string()),
            Err(RegistryError::NotEcr { .. } | RegistryError::Invalid(_)) => Self::Other,
        }
    }
}

/// Docker Hub and names without a dot or port are never aliases.
fn may_be_alias(host: &str) -> bool {
    host.contains(['.', ':']) && !DOCKER_HUB.contains(&host)
}

/// Asks the broker for credentials. A host outside ECR never fails because of the broker or the settings: the broker may not serve that
/// host at all.
pub(super) fn resolve(setup: &Setup, owner: RegistryOwner, request: &Request<'_>) -> Resolution {
    match (owner, Stage::of(setup, request.protocol)) {
        (RegistryOwner::Ecr(registry), _) if setup.observation.is_some() => complete(setup, &registry, request),
        (RegistryOwner::Ecr(registry), Stage::Full(_)) => resolve_ecr(setup, &registry, request),
        (RegistryOwner::Ecr(registry), Stage::Canary(_)) => as_canary(setup, &registry, request),
        (RegistryOwner::Ecr(registry), Stage::Shadow(fallback)) => in_shadow(setup, fallback, &registry, request),
        (RegistryOwner::MaybeAlias(_), Stage::Shadow(fallback)) => alias_in_shadow(fallback, request),
        (RegistryOwner::MaybeAlias(host), _) => resolve_alias(setup, &host, request),
        (RegistryOwner::Other, _) => Resolution::NotServed,
        (RegistryOwner::Malformed(problem), _) => Resolution::Failed(problem),
    }
}

fn resolve_ecr(setup: &Setup, registry: &Registry, request: &Request<'_>) -> Resolution {
    match fetch(setup, request.server) {
        Ok(credentials) => Resolution::Credentials(Box::new(credentials)),
        Err(failure) => after(registry, fall_back(setup, &failure, request)),
    }
}

/// Asks the broker, and leaves every failure to the fallback: until all hosts ask the broker, a missing grant must not fail a pull.
fn as_canary(setup: &Setup, registry: &Registry, request: &Request<'_>) -> Resolution {
    let (answer, result) = timed(|| fetch(setup, request.server));
    let mut observation = Observation { mode: Mode::Canary, broker: Some(answer), fallback: None };
    let resolution = match result {
        Ok(credentials) => Resolution::Credentials(Box::new(credentials)),
        Err(failure) => {
            let (outcome, ms) = measured(|| fall_back(setup, &failure, request));
            let reason = outcome.is_err().then(|| "FAILED".to_owned());
            observation.fallback = Some(Answer { ms, reason });
            after(registry, outcome)
        }
    };
    observer::start(&observation, request.stdin);
    resolution
}

/// Runs the fallback, and has the broker asked by another process. Only a fallback that cannot run leaves the answer to the broker.
fn in_shadow(setup: &Setup, fallback: Fallback<'_>, registry: &Registry, request: &Request<'_>) -> Resolution {
    let (result, ms) = measured(|| fallback.run(request.fallback_arguments, request.stdin));
    let reason = result.as_ref().err().map(|problem| if problem.has_failed { "FAILED" } else { NOT_RUN }.to_owned());
    let observation = Observation { mode: Mode::Shadow, broker: None, fallback: Some(Answer { ms, reason }) };
    match result {
        Err(FallbackProblem { text, has_failed: false }) if !is_nested() => match fetch(setup, request.server) {
            Ok(credentials) => Resolution::Credentials(Box::new(credentials)),
            Err(failure) => after(registry, Err(format!("{text}; {failure}"))),
        },
        result => {
            observer::start(&observation, request.stdin);
            after(registry, result.map_err(|problem| problem.text))
        }
    }
}

/// Leaves a host that may be an alias to the fallback: only the broker knows its aliases, and must not answer yet.
fn alias_in_shadow(fallback: Fallback<'_>, request: &Request<'_>) -> Resolution {
    if !request.fallback_for_aliases {
        return Resolution::NotServed;
    }
    let output = fallback.run(request.fallback_arguments, request.stdin);
    output.map_or_else(|problem| Resolution::AliasUnknown(problem.text), Resolution::Fallback)
}

/// Completes the observation of another process. The resolution goes nowhere.
fn complete(setup: &Setup, registry: &Registry, request: &Request<'_>) -> Resolution {
    if let Some(observation) = &setup.observation {
        let host = registry.host().unwrap_or_default();
        observer::complete(setup, observation, request.protocol, (request.server, host));
    }
    Resolution::Failed(String::new())
}

/// Returns the fallback's output, or the failure of an ECR registry.
fn after(registry: &Registry, outcome: Result<Output, String>) -> Resolution {
    match (outcome, registry) {
        (Ok(output), _) => Resolution::Fallback(output),
        (Err(problem), Registry::Private(_)) => Resolution::Failed(problem),
        (Err(problem), Registry::Public { .. }) => Resolution::PublicFailed(problem),
    }
}

fn resolve_alias(setup: &Setup, host: &str, request: &Request<'_>) -> Resolution {
    let (failure, refused) = match look_up_alias(setup, host) {
        AliasLookup::Found(credentials) => return Resolution::Credentials(credentials),
        AliasLookup::NotAlias => return Resolution::NotServed,
        AliasLookup::Unknown(failure) => (failure, false),
        AliasLookup::Refused(failure) => (failure, true),
    };
    let outcome =
        if request.fallback_for_aliases { fall_back(setup, &failure, request) } else { Err(failure.to_string()) };
    match outcome {
        Ok(output) => Resolution::Fallback(output),
        Err(problem) if refused => Resolution::AliasRefused(problem),
        Err(problem) => Resolution::AliasUnknown(problem),
    }
}

/// Sends the broker only the host: the path may belong to a registry that the broker does not serve.
fn look_up_alias(setup: &Setup, host: &str) -> AliasLookup {
    match fetch(setup, host) {
        Ok(credentials) => AliasLookup::Found(Box::new(credentials)),
        Err(failure) => match failure.reason.as_deref() {
            Some("REGISTRY_NOT_ECR" | "REGISTRY_INVALID") => AliasLookup::NotAlias,
            // An error that names a registry is about that registry; any other is about the caller or the broker.
            Some(_) if failure.registry().is_some() => AliasLookup::Refused(failure),
            _ => AliasLookup::Unknown(failure),
        },
    }
}

/// Runs the fallback program if there is one and it may answer after the failure; otherwise returns the failure.
pub(super) fn fall_back(setup: &Setup, failure: &Failure, request: &Request<'_>) -> Result<Output, String> {
    let fallback = match Stage::of(setup, request.protocol) {
        Stage::Full(fallback) => fallback.filter(|_| setup.adoption.allows_fallback(failure)),
        Stage::Canary(fallback) | Stage::Shadow(fallback) => Some(fallback),
    };
    let Some(fallback) = fallback else { return Err(failure.to_string()) };
    match fallback.run(request.fallback_arguments, request.stdin) {
        Ok(output) => Ok(output.with_note(failure.to_string())),
        Err(problem) => Err(format!("{failure}; {}", problem.text)),
    }
}
