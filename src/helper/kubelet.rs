//! kubelet's credential providers (`credentialprovider.kubelet.k8s.io/v1`): a request as JSON on stdin, a response on stdout.
//!
//! kubelet reads responses strictly: a field that it does not know fails the pull.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::docker::{AliasLookup, RegistryOwner, fetch, fetch_alias, whose};
use super::{Reply, Setup, place};
use crate::client::RegistryCredentials;
use crate::registry::Registry;

const NOBODYS: &str = "not a registry of ECR's, nor an alias of the broker's; narrow matchImages of this provider";
const VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    api_version: String,
    kind: String,
    image: String,
    /// Of the pod's, where kubelet is configured to pass it on.
    #[serde(default)]
    service_account_token: String,
}

/// Answers one question.
#[must_use]
pub fn answer(setup: Result<Setup, String>, question: &str) -> Reply {
    let request: Request = match serde_json::from_str(question) {
        Ok(request) => request,
        Err(error) => {
            return Reply::bad("").noting(format!("the request is no CredentialProviderRequest ({})", place(&error)));
        }
    };
    if request.api_version != VERSION || request.kind != "CredentialProviderRequest" {
        let problem = format!(
            "the request is a {} of {}; set apiVersion: {VERSION} for this provider",
            request.kind, request.api_version
        );
        return Reply::bad("").noting(problem);
    }
    let nothing = |note: String| response(Duration::ZERO, &Value::Null).noting(note);
    let (registry, host) = match whose(&request.image) {
        Ok(RegistryOwner::Ecrs(registry)) => (Some(registry), None),
        Ok(RegistryOwner::Anothers(Some(host))) => (None, Some(host)),
        Ok(RegistryOwner::Anothers(None)) => return nothing(NOBODYS.to_owned()),
        Err(problem) => return Reply::bad("").noting(problem),
    };
    let mut setup = match setup {
        Ok(setup) => setup,
        Err(problem) if registry.is_none() => return nothing(problem),
        Err(problem) => return Reply::bad("").noting(problem),
    };
    if !request.service_account_token.is_empty() {
        setup.settings.token = Some(request.service_account_token.into());
    }
    let Some(registry) = registry else {
        return match fetch_alias(&setup, host.as_deref().unwrap_or_default()) {
            Ok(credentials) => login(&credentials),
            Err(AliasLookup::Not) => nothing(NOBODYS.to_owned()),
            // Other registries do not need the broker.
            Err(AliasLookup::Unknown(failure)) => setup.fall_back(&failure, &[], question).unwrap_or_else(nothing),
            Err(AliasLookup::Refused(failure)) => {
                setup.fall_back(&failure, &[], question).unwrap_or_else(|problem| Reply::bad("").noting(problem))
            }
        };
    };
    match fetch(&setup, &request.image) {
        Ok(credentials) => login(&credentials),
        Err(failure) => match (setup.fall_back(&failure, &[], question), registry) {
            (Ok(reply), _) => reply,
            (Err(problem), Registry::Private(_)) => Reply::bad("").noting(problem),
            // Without a login it may go well.
            (Err(problem), Registry::Public { .. }) => response(Duration::ZERO, &Value::Null).noting(problem),
        },
    }
}

fn login(credentials: &RegistryCredentials) -> Reply {
    let auth = json!({ &credentials.registry: { "username": credentials.username, "password": credentials.password } });
    let wait = credentials.refresh_after.and_then(|after| after.try_into().ok());
    response(wait.unwrap_or_default(), &auth)
}

/// kubelet asks again when the broker would have it asked; without a duration it would take the one of its own configuration.
fn response(cache: Duration, auth: &Value) -> Reply {
    let response = json!({
        "apiVersion": VERSION,
        "kind": "CredentialProviderResponse",
        "cacheKeyType": "Registry",
        "cacheDuration": format!("{}s", cache.as_secs()),
        "auth": auth,
    });
    Reply::good(format!("{response}\n"))
}
