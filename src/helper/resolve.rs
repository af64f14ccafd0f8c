//! Decides what the broker has for a registry; a protocol translates the [`Resolution`] into its own wire format.

use super::fallback::Fallback;
use super::output::Output;
use super::setup::Setup;
use crate::client::{Client, Failure, Query, RegistryCredentials, block_on};
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
    match owner {
        RegistryOwner::Ecr(registry) => resolve_ecr(setup, &registry, request),
        RegistryOwner::MaybeAlias(host) => resolve_alias(setup, &host, request),
        RegistryOwner::Other => Resolution::NotServed,
        RegistryOwner::Malformed(problem) => Resolution::Failed(problem),
    }
}

fn resolve_ecr(setup: &Setup, registry: &Registry, request: &Request<'_>) -> Resolution {
    let failure = match fetch(setup, request.server) {
        Ok(credentials) => return Resolution::Credentials(Box::new(credentials)),
        Err(failure) => failure,
    };
    match (fall_back(setup, &failure, request), registry) {
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

fn fetch(setup: &Setup, registry: &str) -> Result<RegistryCredentials, Failure> {
    let broker = setup.broker()?;
    let query = Query { registry: registry.to_owned(), profile: broker.profile.clone(), ..Query::default() };
    let result = block_on(async {
        let mut client = Client::connect(&broker.settings).await?;
        client.credentials(&[query]).await?.pop().unwrap_or_else(|| Err(Failure::empty_response()))
    });
    result.unwrap_or_else(|error| Err(Failure::from_io(&error)))
}

/// Runs the fallback program if there is one and it applies; otherwise returns the failure.
fn fall_back(setup: &Setup, failure: &Failure, request: &Request<'_>) -> Result<Output, String> {
    match &setup.fallback {
        Some(fallback) if Fallback::applies_to(failure) => {
            fallback.run(request.fallback_arguments, request.stdin, failure, setup.time_limit)
        }
        _ => Err(failure.to_string()),
    }
}
