//! AWS Sign-In: `CreateBearerToken`, whose tokens open the registry's API as those of ECR do.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::AuthenticatedCall;
use super::permission::{Access, session_allows};
use super::repositories::Issued;
use super::service::Service;
use super::simulated_aws::{BEARER_OPERATION, SimulatedAws};
use super::{fault, token};
use crate::aws_wire::{AwsError, AwsRequest, AwsResponse, CredentialScope};
use crate::registry::Region;

const JSON: &str = "application/json";
const PATH: &str = "/v1/token";
const QUERY: &str = "x-amz-token-request-type=bearer";
/// The lifetimes that the service accepts, in seconds.
const DURATIONS: std::ops::RangeInclusive<u64> = 300..=43_200;
const DEFAULT_DURATION: u64 = 43_200;

/// Malformed bodies.
const GARBAGE: [&[u8]; 7] = [
    b"",
    b"{}",
    b"\xff\xfe\x00\x01",
    b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    br#"{"access_token":"abc","token_type":"Bearer""#,
    br#"{"access_token":"abc","token_type":"Bearer","expires_in":-1}"#,
    br#"{"access_token":"abc","token_type":"Bearer","expires_in":99999999999}"#,
];

#[derive(Debug, Default, Deserialize)]
struct Input {
    grant_type: Option<String>,
    resource: Option<String>,
    duration: Option<u64>,
}

/// Returns whether a request is for the service.
pub(super) fn serves(request: &AwsRequest) -> bool {
    request.head.uri.path() == PATH
}

pub(super) async fn respond(aws: &SimulatedAws, request: &AwsRequest) -> AwsResponse {
    serve(aws, request).await.unwrap_or_else(|error| refusal(&error))
}

async fn serve(aws: &SimulatedAws, request: &AwsRequest) -> Result<AwsResponse, AwsError> {
    if request.head.method != Method::POST || request.head.uri.query() != Some(QUERY) {
        return Err(super::ecr::unknown_operation());
    }
    let scope = CredentialScope::of(request)?.expect(Service::Signin.name())?;
    let call = AuthenticatedCall {
        service: Service::Signin,
        operation: BEARER_OPERATION,
        principal: aws.principal(Some(&scope)),
        region: Some(scope.region.clone()),
        endpoint: request.endpoint(),
    };
    aws.record(&call);
    if let Some(fault) = fault::inject(aws, &call, &GARBAGE).await? {
        return Ok(fault);
    }
    let access = Access { action: "signin:CreateBearerToken", resource: "*" };
    if !session_allows(&call.principal, &access) {
        let problem = format!("User: {} is not authorized to perform: signin:CreateBearerToken", call.principal.arn);
        return Err(AwsError::forbidden("AccessDeniedException", problem));
    }
    let lifetime = lifetime(request)?;
    if aws.gives(Answer::NoBearer) {
        return Err(invalid("The resource is not supported"));
    }
    Ok(AwsResponse::success(JSON, output(aws, call, scope.region, lifetime).to_string()))
}

/// Returns the requested lifetime, after the service's checks.
fn lifetime(request: &AwsRequest) -> Result<Duration, AwsError> {
    let Input { grant_type, resource, duration } = request.json()?;
    if grant_type.as_deref() != Some("client_credentials") {
        return Err(invalid("grant_type must be client_credentials"));
    }
    if resource.as_deref() != Some("ecr.amazonaws.com") {
        return Err(invalid("The resource is not supported"));
    }
    let duration = duration.unwrap_or(DEFAULT_DURATION);
    if !DURATIONS.contains(&duration) {
        return Err(invalid("duration must be between 300 and 43200"));
    }
    Ok(Duration::from_secs(duration))
}

fn output(aws: &SimulatedAws, call: AuthenticatedCall, region: Region, lifetime: Duration) -> Value {
    let lifetime = lifetime.min(aws.settings().token_lifetime);
    let ends = aws.now() + lifetime;
    let token = token::password(ends.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let presented = BASE64.encode(format!("AWS:{token}").as_bytes());
    let issued = Issued { principal: call.principal, region, account: None, ends, is_bearer: true };
    aws.repositories().issue(&presented, issued);
    json!({ "access_token": token, "token_type": "Bearer", "expires_in": lifetime.as_secs() })
}

fn invalid(problem: &str) -> AwsError {
    AwsError::bad_request("ValidationException", problem)
}

/// Returns an error in the service's own codes.
fn refusal(error: &AwsError) -> AwsResponse {
    let (status, code, oauth) = match error.code {
        "ThrottlingException" | "ThrottleException" => {
            (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsError", "rate_exceeded")
        }
        "ServerException" => (error.status, "InternalServerException", "server_error"),
        "AccessDeniedException" => (StatusCode::FORBIDDEN, error.code, "INSUFFICIENT_PERMISSIONS"),
        code => (error.status, code, "invalid_request"),
    };
    let body = json!({ "error": oauth, "message": error.message });
    AwsResponse::error(status, code, JSON, body.to_string())
}
