//! The registry's own API below `/v2/`: what a token may read and push. It stores no images.

use http::header::{AUTHORIZATION, HOST};
use http::{Method, StatusCode};
use serde_json::json;

use super::answer::Answer;
use super::permission::{Access, repository_revokes, session_allows};
use super::repositories::Issued;
use super::simulated_aws::SimulatedAws;
use crate::aws_wire::{AwsRequest, AwsResponse};

const JSON: &str = "application/json";

/// Returns whether a request is for a registry.
pub(super) fn serves(request: &AwsRequest) -> bool {
    request.head.uri.path().starts_with("/v2/")
}

pub(super) fn respond(aws: &SimulatedAws, request: &AwsRequest) -> AwsResponse {
    if !answers_on_host(aws, request) {
        return refusal(StatusCode::FORBIDDEN, "DENIED");
    }
    let Some(issued) = issued(aws, request) else { return refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED") };
    if has_ended(aws, &issued) || issued.is_bearer && aws.gives(Answer::BearerRefused) {
        return refusal(StatusCode::FORBIDDEN, "DENIED");
    }
    let path = request.head.uri.path().strip_prefix("/v2/").unwrap_or_default();
    match (&request.head.method, path.split_once("/manifests/"), path.strip_suffix("/blobs/uploads/")) {
        (&Method::GET, _, _) if path.is_empty() => AwsResponse::success(JSON, "{}".to_owned()),
        (&Method::GET, Some((name, _)), _) => match check(aws, &issued, name, "ecr:BatchGetImage") {
            Ok(()) => refusal(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Err(refused) => refused,
        },
        (&Method::POST, _, Some(name)) => match check(aws, &issued, name, "ecr:InitiateLayerUpload") {
            Ok(()) => AwsResponse::fault(StatusCode::ACCEPTED, b"", "upload started"),
            Err(refused) => refused,
        },
        _ => refusal(StatusCode::NOT_FOUND, "UNSUPPORTED"),
    }
}

/// Returns whether registries of the host's kind are there.
fn answers_on_host(aws: &SimulatedAws, request: &AwsRequest) -> bool {
    let host = request.header(&HOST).unwrap_or_default();
    let is_fips = host.contains(".dkr.ecr-fips.") || host.contains(".dkr-ecr-fips.");
    let is_dual_stack = host.contains(".dkr-ecr.") || host.contains(".dkr-ecr-fips.");
    !(is_fips && aws.gives(Answer::NoFips) || is_dual_stack && aws.gives(Answer::NoDualStack))
}

fn issued(aws: &SimulatedAws, request: &AwsRequest) -> Option<Issued> {
    let token = request.header(&AUTHORIZATION)?.strip_prefix("Basic ")?;
    aws.repositories().issued(token)
}

fn has_ended(aws: &SimulatedAws, issued: &Issued) -> bool {
    let now = aws.now();
    let session = issued.principal.session.as_ref().filter(|_| aws.gives(Answer::TokenEndsWithSession));
    now >= issued.ends || session.is_some_and(|session| now >= session.ends)
}

fn check(aws: &SimulatedAws, issued: &Issued, name: &str, action: &'static str) -> Result<(), AwsResponse> {
    let Issued { principal, region, .. } = issued;
    let partition = region.partition().name();
    let arn = format!("arn:{partition}:ecr:{region}:{}:repository/{name}", principal.account);
    let access = Access { action, resource: &arn };
    let is_narrowed = !aws.gives(Answer::PolicyIgnored) && !session_allows(principal, &access);
    let policy = aws.repositories().policy(name);
    let is_revoked = policy.iter().flatten().any(|policy| repository_revokes(policy, principal, &access))
        && !aws.gives(Answer::RevocationIgnored);
    if is_narrowed || is_revoked {
        return Err(refusal(StatusCode::FORBIDDEN, "DENIED"));
    }
    policy.map(drop).map_err(|_| refusal(StatusCode::NOT_FOUND, "NAME_UNKNOWN"))
}

fn refusal(status: StatusCode, code: &'static str) -> AwsResponse {
    let body = json!({ "errors": [{ "code": code, "message": "by the simulated AWS" }] });
    AwsResponse::error(status, code, JSON, body.to_string())
}
