//! Amazon ECR and ECR Public: `GetAuthorizationToken` of both.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};

use super::signature::Scope;
use super::wire::{Answer, Call, Refusal};
use super::world::{Arrival, Service, World};
use super::{token, trouble};
use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Region};

/// How many registries one call may name.
const REGISTRIES: usize = 10;
/// Where ECR Public has its API.
const PUBLIC_REGIONS: [&str; 2] = ["us-east-1", "us-west-2"];

const OPERATIONS: [Operation; 2] = [
    Operation {
        target: "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
        service: Service::Ecr,
        perform: private_token,
    },
    Operation {
        target: "SpencerFrontendService.GetAuthorizationToken",
        service: Service::EcrPublic,
        perform: public_token,
    },
];

/// Bodies that are no answer; most of them an SDK takes for one, with something missing.
const GARBAGE: [&[u8]; 9] = [
    b"",
    b"{}",
    b"[]",
    b"\xff\xfe\x00\x01",
    b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    br#"{"authorizationData":[{"authorizationToken":"QVdTO"#,
    br#"{"authorizationData":[]}"#,
    br#"{"authorizationData":[{"authorizationToken":null,"expiresAt":null,"proxyEndpoint":null}]}"#,
    br#"{"authorizationData":[{"authorizationToken":"%%%","expiresAt":"tomorrow","proxyEndpoint":17}]}"#,
];

struct Operation {
    target: &'static str,
    service: Service,
    perform: fn(&World, &Arrival, &Region, &Call) -> Result<Value, Refusal>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrivateInput {
    registry_ids: Option<Vec<String>>,
}

pub(super) async fn answer(world: &World, call: &Call) -> Answer {
    match serve(world, call).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.into_json(),
    }
}

async fn serve(world: &World, call: &Call) -> Result<Answer, Refusal> {
    let operation = operation(call).ok_or_else(Refusal::unknown_operation)?;
    let scope = Scope::of(call)?.expect(operation.service)?;
    let arrival = Arrival {
        service: operation.service,
        operation: "GetAuthorizationToken",
        principal: world.principal(Some(&scope)),
        region: Some(scope.region.clone()),
        endpoint: call.endpoint(),
    };
    world.record(&arrival);
    if let Some(fault) = trouble::strike(world, &arrival, &GARBAGE).await? {
        return Ok(fault);
    }
    (operation.perform)(world, &arrival, &scope.region, call).map(|value| Answer::json(&value))
}

fn operation(call: &Call) -> Option<&'static Operation> {
    let target = call.target()?;
    OPERATIONS.iter().find(|operation| operation.target == target)
}

fn private_token(world: &World, arrival: &Arrival, region: &Region, call: &Call) -> Result<Value, Refusal> {
    let accounts = match call.json::<PrivateInput>()?.registry_ids {
        Some(ids) => accounts(&ids)?,
        None => vec![arrival.principal.account],
    };
    // Every region has plain hosts, which are all that ECR names here.
    let registry = PrivateRegistry::new(None, region.clone(), EndpointVariant::default())
        .map_err(|error| invalid(error.to_string()))?;
    let entries: Vec<Value> = accounts.into_iter().map(|account| entry(world, &registry, account)).collect();
    Ok(json!({ "authorizationData": entries }))
}

fn accounts(ids: &[String]) -> Result<Vec<AccountId>, Refusal> {
    if ids.is_empty() || ids.len() > REGISTRIES {
        return Err(invalid(
            "Invalid parameter at 'registryIds' failed to satisfy constraint: 'Member must have length between 1 and 10'",
        ));
    }
    ids.iter().map(|id| id.parse().map_err(|_| malformed_id())).collect()
}

fn malformed_id() -> Refusal {
    invalid(
        "Invalid parameter at 'registryIds' failed to satisfy constraint: 'Member must satisfy constraint: [Member must \
         satisfy regular expression pattern: [0-9]{12}]'",
    )
}

fn invalid(problem: impl Into<String>) -> Refusal {
    Refusal::bad_request("InvalidParameterException", problem)
}

fn entry(world: &World, registry: &PrivateRegistry, account: AccountId) -> Value {
    let mut entry = authorization(world);
    entry["proxyEndpoint"] = format!("https://{}", registry.host(account)).into();
    entry
}

fn public_token(world: &World, _: &Arrival, region: &Region, call: &Call) -> Result<Value, Refusal> {
    call.json::<Value>()?;
    if !PUBLIC_REGIONS.contains(&region.as_str()) {
        return Err(Refusal::bad_request(
            "UnsupportedCommandException",
            "This action isn't supported in this Region. It is in us-east-1 and us-west-2.",
        ));
    }
    Ok(json!({ "authorizationData": authorization(world) }))
}

fn authorization(world: &World) -> Value {
    let expiry = world.token_expiry();
    json!({ "authorizationToken": token::authorization_token(since_epoch(expiry)), "expiresAt": timestamp(expiry) })
}

/// Seconds with milliseconds, as JSON 1.1 writes times.
fn timestamp(time: SystemTime) -> f64 {
    let time = since_epoch(time);
    Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000).as_secs_f64()
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
