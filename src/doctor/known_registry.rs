//! The registry that an error or a credential is about, if this machine can find it out.

use crate::client::{Failure, RegistryCredentials, RegistryType};
use crate::registry::{EndpointVariant, PrivateRegistry, Registry};

/// Returns the requested registry, or the one that the error names; `None` for a name in the broker's `[aliases]`.
pub(super) fn of_failure(requested: &str, failure: &Failure) -> Option<Registry> {
    let named = || failure.registry()?.parse().ok();
    requested.parse().ok().or_else(named)
}

/// Returns the registry of a credential, whose name may be an alias.
pub(super) fn of_credential(credentials: &RegistryCredentials) -> Option<Registry> {
    let private = || {
        let (account, region) = (credentials.account_id.parse().ok()?, credentials.region.parse().ok()?);
        PrivateRegistry::new(Some(account), region, EndpointVariant::default()).ok().map(Registry::Private)
    };
    credentials.registry.parse().ok().or_else(|| match credentials.registry_type() {
        RegistryType::Public => Some(Registry::PUBLIC),
        RegistryType::Private => private(),
        RegistryType::Unspecified => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alias_is_resolved_by_account_and_region_of_the_credential() {
        let alias = RegistryCredentials {
            registry: "registry.corp.example".into(),
            account_id: "123456789012".into(),
            region: "eu-central-1".into(),
            ..RegistryCredentials::default()
        };
        assert_eq!(of_credential(&alias), None);
        let private = RegistryCredentials { registry_type: RegistryType::Private.into(), ..alias.clone() };
        assert_eq!(of_credential(&private), "123456789012.dkr.ecr.eu-central-1.amazonaws.com".parse().ok());
        let public = RegistryCredentials { registry_type: RegistryType::Public.into(), ..alias };
        assert_eq!(of_credential(&public), Some(Registry::PUBLIC));
    }
}
