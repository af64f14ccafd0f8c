//! Settings of a parent broker.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::client::Address;
use crate::credential::{CredentialKey, ParentName, ProfileName};
use crate::policy::RegistryPattern;

/// A parent broker: where it is, how this broker proves itself to it, and what it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name in logs, audit records and the status.
    pub name: ParentName,
    /// Its addresses. Calls are spread over all of them.
    pub addresses: Vec<Address>,
    /// CA certificates that replace the system's.
    pub tls_ca: Option<PathBuf>,
    /// Certificate and key of this broker.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// File with this broker's bearer token.
    pub token_file: Option<PathBuf>,
    /// The registries that it serves.
    pub registries: Vec<RegistryPattern>,
    /// The profiles that it serves.
    pub profiles: Vec<ProfileName>,
    /// The source to ask while the parent is unreachable.
    pub fallback: Fallback,
    /// Whether it decides about each caller of this broker, by the caller's own token where it has one.
    pub forward_callers: bool,
}

/// The source to ask while a parent is unreachable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fallback {
    /// None: requests fail, and cached credentials stay in use.
    #[default]
    None,
    /// AWS, by this broker's own identity or profiles.
    Aws,
}

impl Settings {
    /// Returns whether the parent serves a credential. Its grants alone limit lifetimes of what it serves, so that a credential with a
    /// limit of this broker is never its.
    #[must_use]
    pub fn covers(&self, key: &CredentialKey) -> bool {
        key.lifetime.is_none()
            && self.profiles.contains(&key.profile)
            && self.registries.iter().any(|pattern| pattern.covers(&key.registry))
    }

    /// Returns whether the parent serves a profile for every registry of a pattern.
    #[must_use]
    pub fn covers_all(&self, pattern: &RegistryPattern, profile: &ProfileName) -> bool {
        self.profiles.contains(profile) && self.registries.iter().any(|own| own.contains(pattern))
    }
}

/// Returns the profiles that parents serve, beside `default`, each once.
pub fn profiles_of(parents: &[Settings]) -> impl Iterator<Item = ProfileName> {
    let all: BTreeSet<_> = parents.iter().flat_map(|parent| parent.profiles.iter().cloned()).collect();
    all.into_iter().filter(|name| *name != ProfileName::default_profile())
}
