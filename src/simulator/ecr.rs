//! Amazon ECR and ECR Public: `GetAuthorizationToken` of both.

use std::time::SystemTime;

use http::StatusCode;
use serde_json::Value;

use super::simulated_aws::{AuthenticatedCall, Service, SimulatedAws};
use super::{token, trouble};
use crate::aws_wire::{Answer, Call, Refusal, Scope, ecr};
use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Region};

/// Where ECR Public has its API.
const PUBLIC_REGIONS: [&str; 2] = ["us-east-1", "us-west-2"];

const OPERATIONS: [Operation; 2] = [
    Operation { target: ecr::PRIVATE_TOKEN, service: Service::Ecr, perform: private_token },
    Operation { target: ecr::PUBLIC_TOKEN, service: Service::EcrPublic, perform: public_token },
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
    perform: fn(&SimulatedAws, &AuthenticatedCall, &Region, &Call) -> Result<Value, Refusal>,
}

pub(super) async fn answer(world: &SimulatedAws, call: &Call) -> Answer {
    match serve(world, call).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.into_json(),
    }
}

async fn serve(world: &SimulatedAws, call: &Call) -> Result<Answer, Refusal> {
    let operation = operation(call).ok_or_else(unknown_operation)?;
    let scope = Scope::of(call)?.expect(operation.service.name())?;
    let arrival = AuthenticatedCall {
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

pub(super) fn unknown_operation() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "UnknownOperationException", "The operation is not one of the simulated AWS's")
}

fn private_token(
    world: &SimulatedAws,
    arrival: &AuthenticatedCall,
    region: &Region,
    call: &Call,
) -> Result<Value, Refusal> {
    let accounts = ecr::registry_ids(call)?.unwrap_or_else(|| vec![arrival.principal.account]);
    // Every region has plain hosts, which are all that ECR names here.
    let registry = PrivateRegistry::new(None, region.clone(), EndpointVariant::default())
        .map_err(|error| ecr::invalid(error.to_string()))?;
    let entries: Vec<Value> = accounts.into_iter().map(|account| entry(world, &registry, account)).collect();
    Ok(ecr::output(entries))
}

fn entry(world: &SimulatedAws, registry: &PrivateRegistry, account: AccountId) -> Value {
    let (token, end) = new_token(world);
    ecr::private_authorization(&token, end, &registry.host(account))
}

fn public_token(world: &SimulatedAws, _: &AuthenticatedCall, region: &Region, call: &Call) -> Result<Value, Refusal> {
    call.json::<Value>()?;
    if !PUBLIC_REGIONS.contains(&region.as_str()) {
        return Err(Refusal::bad_request(
            "UnsupportedCommandException",
            "This action isn't supported in this Region. It is in us-east-1 and us-west-2.",
        ));
    }
    let (token, end) = new_token(world);
    Ok(ecr::output(ecr::public_authorization(&token, end)))
}

fn new_token(world: &SimulatedAws) -> (String, SystemTime) {
    let end = world.token_expiry();
    let since_epoch = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (token::authorization_token(since_epoch), end)
}
