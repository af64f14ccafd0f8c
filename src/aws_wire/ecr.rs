//! `GetAuthorizationToken` of Amazon ECR and of ECR Public.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Refusal};
use crate::registry::AccountId;

/// The operation of private registries.
pub const PRIVATE_TOKEN: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
/// The operation of the public registry.
pub const PUBLIC_TOKEN: &str = "SpencerFrontendService.GetAuthorizationToken";

/// How many registries one call may name.
const REGISTRIES: usize = 10;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrivateInput {
    registry_ids: Option<Vec<String>>,
}

/// The accounts whose registries a call names; none: whoever asks has one of its own.
///
/// # Errors
/// Where those are not one to ten accounts.
pub fn registry_ids(call: &Call) -> Result<Option<Vec<AccountId>>, Refusal> {
    let Some(ids) = call.json::<PrivateInput>()?.registry_ids else { return Ok(None) };
    if ids.is_empty() || ids.len() > REGISTRIES {
        return Err(invalid(
            "Invalid parameter at 'registryIds' failed to satisfy constraint: 'Member must have length between 1 and 10'",
        ));
    }
    ids.iter().map(|id| id.parse().map_err(|_| malformed_id())).collect::<Result<_, _>>().map(Some)
}

fn malformed_id() -> Refusal {
    invalid(
        "Invalid parameter at 'registryIds' failed to satisfy constraint: 'Member must satisfy constraint: [Member must \
         satisfy regular expression pattern: [0-9]{12}]'",
    )
}

/// The refusal of a parameter.
pub fn invalid(problem: impl Into<String>) -> Refusal {
    Refusal::bad_request("InvalidParameterException", problem)
}

/// A token of the public registry, and when it ends.
#[must_use]
pub fn public_authorization(token: &str, end: SystemTime) -> Value {
    json!({ "authorizationToken": token, "expiresAt": timestamp(end) })
}

/// A token of a private registry, with the host that it is for.
#[must_use]
pub fn private_authorization(token: &str, end: SystemTime, host: &str) -> Value {
    let mut authorization = public_authorization(token, end);
    authorization["proxyEndpoint"] = format!("https://{host}").into();
    authorization
}

/// What either operation gives: a list of private registries' tokens, or the public one's alone.
#[must_use]
pub fn output(authorization: impl Into<Value>) -> Value {
    json!({ "authorizationData": authorization.into() })
}

/// Seconds with milliseconds, as JSON 1.1 writes times.
fn timestamp(time: SystemTime) -> f64 {
    let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000).as_secs_f64()
}
