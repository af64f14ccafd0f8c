//! Authentication and dispatch of requests.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use opentelemetry::trace::TraceId;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::error::to_aws_error;
use super::operation::Operation;
use super::secret::Secret;
use super::tokens::{Call, Tokens};
use super::trace;
use crate::api::calls::{Calls, ResponseCode};
use crate::api::request::{self, BODY_TIMEOUT, MAX_DURATION, shortly_before};
use crate::api::trace::{Tracing, trace_id};
use crate::audit::{Outcome, Proof, Unauthenticated};
use crate::aws_wire::{AwsError, AwsRequest, AwsResponse, JSON_CONTENT_TYPE, ecr, read_body, target};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::limits::{Attempt, Limits, Origin, RetryAfter};
use crate::quoted::Quoted;
use crate::rejections::{Kind, RejectionRecorder, Subject};
use crate::request_id::RequestId;

/// The path before the secret.
pub const PREFIX: &str = "/t/";
/// Word in the user agent of the broker's own calls to AWS.
const OWN_CALL: &str = "app/ecr-broker";
const NO_SECRET: &str = "no valid secret in the path; set AWS_ENDPOINT_URL_ECR=http://127.0.0.1:PORT/t/SECRET (see server.aws_api_secret_file)";

/// The ECR API over a broker. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct EcrApi {
    limits: Limits,
    rejections: RejectionRecorder,
    secret: Arc<Secret>,
    tokens: Tokens,
    telemetry: Arc<Telemetry>,
}

/// What is recorded of each request.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// The spans that requests are recorded in.
    pub tracing: Tracing,
    /// The metrics of calls.
    pub calls: Calls,
}

impl EcrApi {
    /// Returns the API for callers with `secret`, within limits.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        limits: Limits,
        rejections: RejectionRecorder,
        secret: Arc<Secret>,
        telemetry: Telemetry,
    ) -> Self {
        let tokens = Tokens::new(broker, limits.clone(), rejections.clone());
        Self { limits, rejections, secret, tokens, telemetry: Arc::new(telemetry) }
    }

    /// Responds to one request. Cancelling `force_shutdown` ends a waiting request with an error.
    pub async fn respond(
        &self,
        request: Request<Incoming>,
        force_shutdown: &CancellationToken,
    ) -> Response<Full<Bytes>> {
        let (id, started) = (RequestId::random(), Instant::now());
        let (deadline, trace) = (started + MAX_DURATION, trace_id(request.headers()));
        let operation = Operation::of(target(request.method(), request.headers()));
        let span = trace::span(&self.telemetry.tracing, operation, request.headers(), trace, id);
        let mut in_flight = self.telemetry.calls.begin(operation, started);
        let call = Call { id, trace, answer_by: shortly_before(deadline), deadline };
        let outcome = request::run(self.handle(request, call), deadline, force_shutdown.clone());
        let outcome = outcome.instrument(span.clone()).await;
        let outcome = outcome.unwrap_or_else(|error| Err(to_aws_error(&error, None, id, &self.rejections)));
        let code = outcome.as_ref().err().map_or("OK", |error| error.code);
        let status = outcome.as_ref().err().map_or(StatusCode::OK, |error| error.status);
        in_flight.set_code(ResponseCode::aws(code));
        trace::record_end(&span, status, code);
        let response = outcome.map_or_else(AwsResponse::json_error, |output| AwsResponse::json(&output));
        response.into_http(&id.to_string())
    }

    async fn handle(&self, request: Request<Incoming>, call: Call) -> Result<Value, AwsError> {
        let (mut head, body) = request.into_parts();
        self.authenticate(&mut head, call)?;
        let body = timeout(BODY_TIMEOUT, read_body(body)).await.unwrap_or_else(|_| Err(body_timeout()))?;
        let request = AwsRequest { head, body, id: call.id.to_string() };
        reject_own_call(&request)?;
        match request.target().filter(|_| is_json(&request)) {
            Some(ecr::PRIVATE_TOKEN) => self.tokens.private(&request, call).await,
            Some(ecr::PUBLIC_TOKEN) => self.tokens.public(&request, call).await,
            other => Err(unknown_operation(other)),
        }
    }

    /// Checks the secret, and takes the path, so that nothing after this sees the secret.
    ///
    /// A caller with the secret is accepted, however many attempts without it failed: all callers share one origin, and a random
    /// secret needs no limit on guesses. The limit bounds the log lines of failed attempts.
    fn authenticate(&self, head: &mut Parts, Call { id, trace, .. }: Call) -> Result<(), AwsError> {
        let uri = std::mem::take(&mut head.uri);
        let candidate = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        if self.secret.matches(candidate.strip_suffix('/').unwrap_or(candidate)) {
            return Ok(());
        }
        self.limits.check_origin(Origin::AwsApi, Attempt::Token).map_err(|RetryAfter(retry_after)| {
            let what = "too many requests with a wrong secret";
            to_aws_error(&BrokerError::CallerRateLimited { what, retry_after }, None, id, &self.rejections)
        })?;
        self.limits.record_failure(Origin::AwsApi, Attempt::Token);
        self.record_failure(id, trace);
        Err(AwsError::forbidden("AccessDeniedException", format!("{NO_SECRET} (request id {id})")))
    }
}

impl EcrApi {
    /// Records a request without the secret, or counts it.
    fn record_failure(&self, id: RequestId, trace: Option<TraceId>) {
        let reason = "no valid secret in the path";
        let kind = Kind::Unauthenticated(Proof::Secret, reason);
        let Some(admitted) = self.rejections.admit(Subject::Origin(Origin::AwsApi), kind) else { return };
        tracing::info!(request_id = %id, "ECR API request rejected: no valid secret in its path");
        let record = Unauthenticated {
            request_id: Some(id.to_string()),
            trace_id: trace.map(|trace| trace.to_string()),
            outcome: Outcome::Unauthenticated,
            origin: Origin::AwsApi.to_string(),
            via: Vec::new(),
            proof: Proof::Secret,
            reason,
        };
        // A failed write is counted.
        drop(self.rejections.queue(&admitted, &record));
    }
}

/// Returns whether the request has the content type of JSON 1.1. A page in a browser needs the server's consent to send it.
fn is_json(request: &AwsRequest) -> bool {
    request.header(&CONTENT_TYPE).is_some_and(|content_type| content_type.starts_with(JSON_CONTENT_TYPE))
}

/// Rejects calls of a broker. A broker that calls itself, or two that call each other, would wait until both time out.
fn reject_own_call(request: &AwsRequest) -> Result<(), AwsError> {
    if request.header(&USER_AGENT).is_some_and(|agent| agent.split(' ').any(|word| word == OWN_CALL)) {
        let loops =
            "request loop: the caller is an ecr-broker; set its aws.ecr_endpoint or AWS_ENDPOINT_URL_ECR to AWS";
        return Err(AwsError::bad_request("AccessDeniedException", loops));
    }
    Ok(())
}

fn unknown_operation(target: Option<&str>) -> AwsError {
    let operation = target.map_or_else(|| "this request".to_owned(), |target| Quoted(target).to_string());
    let problem = format!(
        "{operation} failed: only GetAuthorizationToken is supported; unset AWS_ENDPOINT_URL_ECR(_PUBLIC) or the profile's services"
    );
    AwsError::bad_request("UnknownOperationException", problem)
}

fn body_timeout() -> AwsError {
    let problem = format!("request body timeout: the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
    AwsError::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", problem)
}
