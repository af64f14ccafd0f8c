//! Checks that an answer is for the registry that was asked for.
//!
//! Any user may listen at an address where no broker does. The credentials of such a program must not replace those of another
//! registry.

use super::failure::Failure;
use super::query::{Query, registry_host};
use crate::pb::RegistryCredentials;
use crate::quoted::Quoted;
use crate::registry::DOCKER_HUB;

/// Returns the credentials if they are for the query's registry. An alias is answered under the alias.
pub(super) fn for_query(query: &Query, answer: RegistryCredentials) -> Result<RegistryCredentials, Failure> {
    let is_asked = registry_host(&query.registry).is_some_and(|host| host == answer.registry);
    if is_asked && has_own_endpoint(&answer) { Ok(answer) } else { Err(for_another(&answer)) }
}

/// Returns the credentials if they can be for a registry that the broker chose itself.
pub(super) fn for_grants(answer: RegistryCredentials) -> Result<RegistryCredentials, Failure> {
    if is_registry(&answer.registry) && has_own_endpoint(&answer) { Ok(answer) } else { Err(for_another(&answer)) }
}

/// Returns whether a text is a host as a broker writes it: in lower case, without scheme or path, and not Docker Hub's.
pub(super) fn is_registry(host: &str) -> bool {
    registry_host(host).is_some_and(|parsed| parsed == host) && host.contains(['.', ':']) && !DOCKER_HUB.contains(&host)
}

fn has_own_endpoint(answer: &RegistryCredentials) -> bool {
    answer.endpoint.is_empty() || answer.endpoint.strip_prefix("https://") == Some(&answer.registry)
}

fn for_another(answer: &RegistryCredentials) -> Failure {
    let registry = Quoted(&answer.registry);
    Failure::invalid_response(&format!("invalid answer: it is for another registry, {registry}; check the address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECR: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

    fn answer(registry: &str, endpoint: &str) -> RegistryCredentials {
        RegistryCredentials { registry: registry.to_owned(), endpoint: endpoint.to_owned(), ..Default::default() }
    }

    #[test]
    fn answer_for_another_registry_is_an_error() {
        let image = format!("https://{}:443/team/app:v1", ECR.to_uppercase());
        for (asked, answered, accepted) in [
            (ECR, ECR, true),
            (&*image, ECR, true),
            ("Registry.corp.example:5000/x", "registry.corp.example:5000", true),
            (ECR, "ghcr.io", false),
            (ECR, "https://index.docker.io/v1/", false),
            (ECR, "123456789013.dkr.ecr.eu-central-1.amazonaws.com", false),
            (ECR, &ECR.to_uppercase(), false),
            (ECR, "*", false),
            (ECR, "", false),
            ("registry.corp.example", ECR, false),
            ("", "", false),
        ] {
            assert_eq!(for_query(&query(asked), answer(answered, "")).is_ok(), accepted, "{asked}: {answered}");
        }
        assert!(for_query(&query(ECR), answer(ECR, &format!("https://{ECR}"))).is_ok());
        assert!(for_query(&query(ECR), answer(ECR, "https://evil.example")).is_err());
    }

    #[test]
    fn broker_chooses_only_well_formed_hosts_of_registries() {
        for (host, accepted) in [
            (ECR, true),
            ("public.ecr.aws", true),
            ("registry.corp.example:5000", true),
            ("localhost:5000", true),
            ("https://index.docker.io/v1/", false),
            ("docker.io", false),
            ("localhost", false),
            ("../../x", false),
            ("*", false),
            ("", false),
            ("a\u{1b}[31m.example", false),
        ] {
            assert_eq!(for_grants(answer(host, "")).is_ok(), accepted, "{host:?}");
        }
    }

    fn query(registry: &str) -> Query {
        Query { registry: registry.to_owned(), ..Query::default() }
    }
}
