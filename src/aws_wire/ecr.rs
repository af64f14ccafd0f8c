//! `GetAuthorizationToken` of Amazon ECR and of ECR Public.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::AwsError;
use super::request::AwsRequest;
use crate::registry::AccountId;

/// The operation for private registries.
pub const PRIVATE_TOKEN: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
/// The operation for the public registry.
pub const PUBLIC_TOKEN: &str = "SpencerFrontendService.GetAuthorizationToken";

/// The most registries in one request.
const MAX_REGISTRIES: usize = 10;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrivateInput {
    registry_ids: Option<Vec<String>>,
}

/// Returns the accounts whose registries a request names; `None` means the registry of the caller's own account.
///
/// # Errors
/// If the request does not name one to ten accounts.
pub fn registry_ids(request: &AwsRequest) -> Result<Option<Vec<AccountId>>, AwsError> {
    let Some(ids) = request.json::<PrivateInput>()?.registry_ids else { return Ok(None) };
    if ids.is_empty() || ids.len() > MAX_REGISTRIES {
        return Err(invalid(
            "Invalid parameter at 'registryIds' failed to satisfy constraint: 'Member must have length between 1 and 10'",
        ));
    }
    ids.iter().map(|id| id.parse().map_err(|_| malformed_id())).collect::<Result<_, _>>().map(Some)
}

fn malformed_id() -> AwsError {
    invalid(
        "Invalid parameter at 'registryIds' failed to satisfy constraint: 'Member must satisfy constraint: [Member must \
         satisfy regular expression pattern: [0-9]{12}]'",
    )
}

/// Returns the error for an invalid parameter.
pub fn invalid(problem: impl Into<String>) -> AwsError {
    AwsError::bad_request("InvalidParameterException", problem)
}

/// Returns a token of the public registry with its expiry.
#[must_use]
pub fn public_authorization(token: &str, end: SystemTime) -> Value {
    json!({ "authorizationToken": token, "expiresAt": timestamp(end) })
}

/// Returns a token of a private registry with its expiry and host.
#[must_use]
pub fn private_authorization(token: &str, end: SystemTime, host: &str) -> Value {
    let mut authorization = public_authorization(token, end);
    authorization["proxyEndpoint"] = format!("https://{host}").into();
    authorization
}

/// Returns the output of either operation: a list of private registries' tokens, or the public registry's token alone.
#[must_use]
pub fn output(authorization: impl Into<Value>) -> Value {
    json!({ "authorizationData": authorization.into() })
}

/// Converts a time to seconds with milliseconds, the form of JSON 1.1.
fn timestamp(time: SystemTime) -> f64 {
    let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000).as_secs_f64()
}
