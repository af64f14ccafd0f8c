//! Names of one's own for registries: hosts of proxies that stand before ECR and pass its credentials through.

use std::collections::BTreeMap;

use super::{Registry, RegistryError};

/// What no program asks anybody else about.
pub const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Hosts, and the registry behind each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases(BTreeMap<Box<str>, Registry>);

/// A registry, and the name of one's own by which it was asked for, if it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The registry.
    pub registry: Registry,
    /// The host that stands before it.
    pub alias: Option<Box<str>>,
}

impl Aliases {
    /// Gives a registry a name of one's own: a host that is none of ECR's, and its port, where that is not 443.
    ///
    /// # Errors
    /// Where the name is no host, or is one of ECR's, or the registry's host is not known, or the name is taken.
    pub fn add(&mut self, alias: &str, registry: Registry) -> Result<(), RegistryError> {
        let invalid = |problem: &str| Err(RegistryError::invalid(problem));
        let host = match alias.parse::<Registry>() {
            Ok(_) => return invalid("it is a host of ECR's own, which means itself"),
            Err(RegistryError::NotEcr { host }) => host,
            Err(error) => return Err(error),
        };
        if host != alias || !host.contains(['.', ':']) {
            return invalid(
                "an alias is a whole host in lower case, without scheme or path, and with a port only where that is not 443",
            );
        }
        if DOCKER_HUB.contains(&alias) {
            return invalid("Docker Hub's hosts mean Docker Hub to every program");
        }
        if registry.host().is_none() {
            return invalid("the registry behind it must name its account");
        }
        match self.0.insert(host.into(), registry) {
            None => Ok(()),
            Some(_) => invalid("it is there twice"),
        }
    }

    /// The registry that a host, a URL or an image reference means.
    ///
    /// # Errors
    /// Where it is neither ECR's nor an alias.
    pub fn find(&self, text: &str) -> Result<Named, RegistryError> {
        match text.parse() {
            Ok(registry) => Ok(Named { registry, alias: None }),
            Err(RegistryError::NotEcr { host }) => match self.0.get_key_value(&*host) {
                Some((alias, registry)) => Ok(Named { registry: registry.clone(), alias: Some(alias.clone()) }),
                None => Err(RegistryError::NotEcr { host }),
            },
            Err(error) => Err(error),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Registry)> {
        self.0.iter().map(|(alias, registry)| (&**alias, registry))
    }
}

impl From<Registry> for Named {
    fn from(registry: Registry) -> Self {
        Self { registry, alias: None }
    }
}
