//! Protocol of kubelet's credential providers (`credentialprovider.kubelet.k8s.io/v1`): JSON on stdin and stdout.
//!
//! kubelet parses answers strictly: an unknown field fails the pull.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::output::Output;
use super::resolve::{RegistryOwner, Request, Resolution, resolve};
use super::setup::Setup;
use super::stdin;
use crate::client::RegistryCredentials;
use crate::client::adoption::Protocol;
use crate::json_file::error_position;

const NOT_SERVED: &str = "neither an ECR registry nor an alias of the broker; narrow this provider's matchImages";
/// Help under the name of Amazon's provider.
pub const HELP: &str = "\
usage: ecr-credential-provider <CredentialProviderRequest.json

kubelet runs it as its configuration says: ecr-broker configure kubelet prints one.
It reads a request on stdin. By hand:
  echo '{\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"kind\":\"CredentialProviderRequest\",\
\"image\":\"public.ecr.aws/a\"}' | ecr-credential-provider
It finds the broker as other clients do: ECR_BROKER_ADDRESS, client.toml or the default sockets.
Flags: ecr-broker helper kubelet --help
";
const VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProviderRequest {
    api_version: String,
    kind: String,
    image: String,
    /// Token of the pod's service account, if kubelet is configured to send it.
    #[serde(default)]
    service_account_token: String,
}

/// Answers the request on stdin.
#[must_use]
pub fn run(setup: impl FnOnce() -> Setup) -> Output {
    match stdin::read() {
        Ok(request) => answer(setup(), &request),
        Err(error) => failed(format!("cannot read stdin: {error}")),
    }
}

fn answer(setup: Setup, stdin: &str) -> Output {
    let request = match parse(stdin) {
        Ok(request) => request,
        Err(problem) => return failed(problem),
    };
    let token = request.service_account_token;
    let setup = if token.is_empty() { setup } else { setup.with_token(token) };
    let owner = RegistryOwner::of(&request.image);
    let request = Request {
        protocol: Protocol::Kubelet,
        server: &request.image,
        fallback_arguments: &[],
        stdin,
        fallback_for_aliases: true,
    };
    let output = match resolve(&setup, owner, &request) {
        Resolution::Credentials(credentials) => auth(&credentials),
        Resolution::Fallback(output) => output,
        Resolution::NotServed => no_auth(NOT_SERVED),
        // Other registries do not need the broker, and the public one allows anonymous pulls.
        Resolution::AliasUnknown(problem) | Resolution::PublicFailed(problem) => no_auth(problem),
        Resolution::AliasRefused(problem) | Resolution::Failed(problem) => failed(problem),
    };
    setup.note_mistake(output)
}

fn parse(stdin: &str) -> Result<ProviderRequest, String> {
    let request: ProviderRequest = serde_json::from_str(stdin)
        .map_err(|error| format!("malformed CredentialProviderRequest ({})", error_position(&error)))?;
    if request.api_version != VERSION || request.kind != "CredentialProviderRequest" {
        return Err(format!(
            "unsupported request: {} of {}; set apiVersion: {VERSION} for this provider",
            request.kind, request.api_version
        ));
    }
    Ok(request)
}

fn auth(credentials: &RegistryCredentials) -> Output {
    let auth = json!({ &credentials.registry: { "username": credentials.username, "password": credentials.password } });
    let refresh_after = credentials.refresh_after.and_then(|after| after.try_into().ok());
    response(refresh_after.unwrap_or_default(), &auth)
}

fn no_auth(note: impl Into<String>) -> Output {
    response(Duration::ZERO, &Value::Null).with_note(note)
}

fn failed(problem: impl Into<String>) -> Output {
    Output::failed("").with_note(problem)
}

/// Returns the response. It always names a cache duration: without one kubelet uses defaultCacheDuration.
fn response(cache_duration: Duration, auth: &Value) -> Output {
    let response = json!({
        "apiVersion": VERSION,
        "kind": "CredentialProviderResponse",
        "cacheKeyType": "Registry",
        "cacheDuration": format!("{}s", cache_duration.as_secs()),
        "auth": auth,
    });
    Output::ok(format!("{response}\n"))
}
