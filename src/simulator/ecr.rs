//! Amazon ECR and ECR Public: `GetAuthorizationToken` of both, and repositories of ECR.

use std::time::SystemTime;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::AuthenticatedCall;
use super::repositories::Issued;
use super::service::Service;
use super::simulated_aws::{SimulatedAws, TOKEN_OPERATION};
use super::{fault, token};
use crate::aws_wire::{AwsError, AwsRequest, AwsResponse, CredentialScope, ecr};
use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Region};

/// The regions of ECR Public's API.
const PUBLIC_REGIONS: [&str; 2] = ["us-east-1", "us-west-2"];

/// What precedes the names of ECR's operations.
const PRIVATE: &str = "AmazonEC2ContainerRegistry_V20150921.";
/// What precedes the names of ECR Public's operations.
const PUBLIC: &str = "SpencerFrontendService.";

const OPERATIONS: [Operation; 5] = [
    Operation { prefix: PRIVATE, name: TOKEN_OPERATION, service: Service::Ecr, perform: private_token },
    Operation { prefix: PUBLIC, name: TOKEN_OPERATION, service: Service::EcrPublic, perform: public_token },
    Operation { prefix: PRIVATE, name: "CreateRepository", service: Service::Ecr, perform: create_repository },
    Operation { prefix: PRIVATE, name: "DeleteRepository", service: Service::Ecr, perform: delete_repository },
    Operation { prefix: PRIVATE, name: "SetRepositoryPolicy", service: Service::Ecr, perform: set_repository_policy },
];

/// Malformed bodies. An SDK parses most of them as a response that lacks something.
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
    prefix: &'static str,
    name: &'static str,
    service: Service,
    perform: fn(&SimulatedAws, &AuthenticatedCall, &Region, &AwsRequest) -> Result<Value, AwsError>,
}

pub(super) async fn respond(aws: &SimulatedAws, request: &AwsRequest) -> AwsResponse {
    serve(aws, request).await.unwrap_or_else(AwsResponse::json_error)
}

async fn serve(aws: &SimulatedAws, request: &AwsRequest) -> Result<AwsResponse, AwsError> {
    let operation = operation(request).ok_or_else(unknown_operation)?;
    let scope = CredentialScope::of(request)?.expect(operation.service.name())?;
    let call = AuthenticatedCall {
        service: operation.service,
        operation: operation.name,
        principal: aws.principal(Some(&scope)),
        region: Some(scope.region.clone()),
        endpoint: request.endpoint(),
    };
    aws.record(&call);
    if let Some(fault) = fault::inject(aws, &call, &GARBAGE).await? {
        return Ok(fault);
    }
    (operation.perform)(aws, &call, &scope.region, request).map(|value| AwsResponse::json(&value))
}

fn operation(request: &AwsRequest) -> Option<&'static Operation> {
    let target = request.target()?;
    OPERATIONS.iter().find(|operation| target.strip_prefix(operation.prefix) == Some(operation.name))
}

pub(super) fn unknown_operation() -> AwsError {
    AwsError::new(StatusCode::NOT_FOUND, "UnknownOperationException", "The simulated AWS does not have this operation")
}

fn private_token(
    aws: &SimulatedAws,
    call: &AuthenticatedCall,
    region: &Region,
    request: &AwsRequest,
) -> Result<Value, AwsError> {
    let accounts = ecr::registry_ids(request)?.unwrap_or_else(|| vec![call.principal.account]);
    // Every region has plain hosts, and ECR names only plain hosts here.
    let registry = PrivateRegistry::new(None, region.clone(), EndpointVariant::default())
        .map_err(|error| ecr::invalid(error.to_string()))?;
    let entries: Vec<Value> = accounts.into_iter().map(|account| entry(aws, call, &registry, account)).collect();
    Ok(ecr::output(entries))
}

fn entry(aws: &SimulatedAws, call: &AuthenticatedCall, registry: &PrivateRegistry, account: AccountId) -> Value {
    let (token, end) = new_token(aws);
    let (principal, region) = (call.principal.clone(), registry.region().clone());
    aws.repositories().issue(&token, Issued { principal, region, account: Some(account), ends: end, is_bearer: false });
    ecr::private_authorization(&token, end, &registry.host(account))
}

fn public_token(
    aws: &SimulatedAws,
    _: &AuthenticatedCall,
    region: &Region,
    request: &AwsRequest,
) -> Result<Value, AwsError> {
    request.json::<Value>()?;
    if !PUBLIC_REGIONS.contains(&region.as_str()) {
        return Err(AwsError::bad_request(
            "UnsupportedCommandException",
            "This action isn't supported in this Region. It is in us-east-1 and us-west-2.",
        ));
    }
    let (token, end) = new_token(aws);
    Ok(ecr::output(ecr::public_authorization(&token, end)))
}

fn new_token(aws: &SimulatedAws) -> (String, SystemTime) {
    let end = aws.token_expiry();
    let since_epoch = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (token::authorization_token(since_epoch), end)
}

/// The input of the operations on a repository.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RepositoryInput {
    repository_name: String,
    policy_text: Option<String>,
}

fn create_repository(
    aws: &SimulatedAws,
    call: &AuthenticatedCall,
    region: &Region,
    request: &AwsRequest,
) -> Result<Value, AwsError> {
    let name = request.json::<RepositoryInput>()?.repository_name;
    aws.repositories().create(&name)?;
    let account = call.principal.account;
    let arn = format!("arn:{}:ecr:{region}:{account}:repository/{name}", region.partition().name());
    Ok(json!({ "repository": { "repositoryArn": arn, "registryId": account.as_str(), "repositoryName": name } }))
}

fn delete_repository(
    aws: &SimulatedAws,
    call: &AuthenticatedCall,
    _: &Region,
    request: &AwsRequest,
) -> Result<Value, AwsError> {
    let name = request.json::<RepositoryInput>()?.repository_name;
    if aws.gives(Answer::DeleteDenied) {
        let problem = format!("User: {} is not authorized to perform: ecr:DeleteRepository", call.principal.arn);
        return Err(AwsError::bad_request("AccessDeniedException", problem));
    }
    aws.repositories().delete(&name)?;
    aws.images().remove(&name);
    Ok(json!({ "repository": { "repositoryName": name } }))
}

fn set_repository_policy(
    aws: &SimulatedAws,
    _: &AuthenticatedCall,
    _: &Region,
    request: &AwsRequest,
) -> Result<Value, AwsError> {
    let input = request.json::<RepositoryInput>()?;
    let text = input.policy_text.unwrap_or_default();
    let policy = serde_json::from_str(&text).map_err(|_| ecr::invalid("Invalid parameter at 'PolicyText'"))?;
    aws.repositories().set_policy(&input.repository_name, policy)?;
    Ok(json!({ "repositoryName": input.repository_name, "policyText": text }))
}
