//! Aliases: hosts of proxies that stand before ECR and pass its credentials through.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::ecr::Registry;
use super::error::RegistryError;

/// The hosts that every program takes for Docker Hub.
pub const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Alias hosts, and the registry behind each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases(BTreeMap<Box<str>, Registry>);

/// A registry, and the alias by which the request named it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResolvedRegistry {
    /// The registry.
    pub registry: Registry,
    /// The alias host; `None` if the request named the registry itself.
    pub alias: Option<Box<str>>,
}

impl Aliases {
    /// Adds an alias: a host that does not belong to ECR, with its port unless that is 443.
    ///
    /// # Errors
    /// If the alias is not a host, belongs to ECR or Docker Hub, or exists already, or if the registry's host is unknown.
    pub fn add(&mut self, alias: &str, registry: Registry) -> Result<(), RegistryError> {
        check_alias(alias)?;
        if registry.host().is_none() {
            return Err(RegistryError::invalid("the registry behind an alias must name its account; add the account"));
        }
        match self.0.insert(alias.into(), registry) {
            None => Ok(()),
            Some(_) => Err(RegistryError::invalid("the alias is defined twice; remove one of the two")),
        }
    }

    /// Resolves a host, a URL or an image reference.
    ///
    /// # Errors
    /// If it names neither an ECR registry nor an alias.
    pub fn resolve(&self, text: &str) -> Result<ResolvedRegistry, RegistryError> {
        match text.parse() {
            Ok(registry) => Ok(ResolvedRegistry { registry, alias: None }),
            Err(RegistryError::NotEcr { host }) => match self.0.get_key_value(&*host) {
                Some((alias, registry)) => {
                    Ok(ResolvedRegistry { registry: registry.clone(), alias: Some(alias.clone()) })
                }
                None => Err(RegistryError::NotEcr { host }),
            },
            Err(error) => Err(error),
        }
    }

    /// Returns the aliases in the order of their hosts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Registry)> {
        self.from("")
    }

    /// Returns the aliases in the order of their hosts, from the one of this name on.
    pub fn from(&self, name: &str) -> impl Iterator<Item = (&str, &Registry)> + use<'_> {
        let range = self.0.range::<str, _>((Bound::Included(name), Bound::Unbounded));
        range.map(|(alias, registry)| (&**alias, registry))
    }
}

impl From<Registry> for ResolvedRegistry {
    fn from(registry: Registry) -> Self {
        Self { registry, alias: None }
    }
}

/// Checks that an alias is written as a parsed host is, so that lookups find it, and that its host is free.
fn check_alias(alias: &str) -> Result<(), RegistryError> {
    let host = match alias.parse::<Registry>() {
        Ok(_) => return Err(RegistryError::invalid("an ECR host cannot be an alias; use another host")),
        Err(RegistryError::NotEcr { host }) => host,
        Err(error) => return Err(error),
    };
    if host != alias || !host.contains(['.', ':']) {
        return Err(RegistryError::invalid(
            "an alias is a full lower-case host; write it without scheme and path, and with a port only if that is not 443",
        ));
    }
    if DOCKER_HUB.contains(&alias) {
        return Err(RegistryError::invalid(
            "a Docker Hub host cannot be an alias: every program takes it for Docker Hub; use another host",
        ));
    }
    Ok(())
}
