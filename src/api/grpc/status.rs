//! The one mapping from [`BrokerError`] to a gRPC status with its details.

use std::collections::HashMap;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::debug;

use super::call::Call;
use super::record;
use crate::broker::CredentialRequest;
use crate::credential::ProfileName;
use crate::error::{AuthnCause, BrokerError, FailureClass, SourceName, UpstreamError};
use crate::hops::ChainProblem;
use crate::request_id::RequestId;

mod size;

/// The domain of every reason.
const DOMAIN: &str = "ecr-broker";
/// The trailer with the delay before a retry, in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// Longest text of an error that is too large for its trailers.
const MAX_SHORTENED: usize = 512;

/// The registry and profile of a request, as far as it was decoded: the metadata of its errors.
#[derive(Debug, Clone, Default)]
pub(super) struct ErrorContext {
    registry: Option<String>,
    account: Option<String>,
    region: Option<String>,
    profile: Option<ProfileName>,
}

impl ErrorContext {
    /// Returns the context of a decoded request.
    ///
    /// An alias hides its registry, which only callers that may have it should learn.
    pub(super) fn of(request: &CredentialRequest) -> Self {
        let (registry, profile) = (&request.target.registry, request.profile.clone());
        match &request.target.alias {
            Some(alias) => Self { registry: Some(alias.to_string()), account: None, region: None, profile },
            None => Self {
                registry: registry.host(),
                account: registry.account().map(|account| account.to_string()),
                region: registry.region().map(ToString::to_string),
                profile,
            },
        }
    }

    /// Returns the context without the region, which the caller did not name, and without the host, which contains it.
    pub(super) fn without_region(self) -> Self {
        Self { region: None, registry: None, ..self }
    }
}

/// Returns the status of an error, and records or counts it. Successful calls are not logged.
pub(super) fn to_status(error: &BrokerError, context: &ErrorContext, call: &Call) -> Status {
    match error {
        // Recorded with its reason where it was decided.
        BrokerError::CallerNotAllowed => status(error, context, call.id),
        // Credential helpers ask about every registry, because its host may be an alias.
        BrokerError::RegistryNotEcr { .. } => to_status_unlogged(error, context, call),
        _ => {
            record::failure(error, context.registry.as_deref(), call);
            status(error, context, call.id)
        }
    }
}

/// Returns the status of an error that already has a log line, or needs none.
pub(super) fn to_status_unlogged(error: &BrokerError, context: &ErrorContext, call: &Call) -> Status {
    debug!(request_id = %call.id, registry = context.registry, error = %error, "request failed");
    status(error, context, call.id)
}

/// Returns a status as a message, for a result of a batch or an event of a watch.
pub(super) fn to_message(status: &Status) -> tonic_types::Status {
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

fn status(error: &BrokerError, context: &ErrorContext, id: RequestId) -> Status {
    let mut details = details(error, metadata(error, context), id);
    if let Some((field, problem)) = violation(error) {
        details.add_bad_request_violation(field, problem);
    }
    let status = with_details(error, error.to_string(), details);
    if size::fits(&status) { status } else { shortened(error, id) }
}

/// Returns the status of an error that is too large: without metadata and violations, with a shortened text.
fn shortened(error: &BrokerError, id: RequestId) -> Status {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(MAX_SHORTENED));
    with_details(error, text, details(error, HashMap::new(), id))
}

/// Returns the status. gRPC's own retry policies ignore `RetryInfo`, and wait as long as a trailer says (gRFC A6).
fn with_details(error: &BrokerError, text: String, details: ErrorDetails) -> Status {
    let mut status = Status::with_error_details(code(error), text, details);
    if let Some(wait) = error.retry_after() {
        let milliseconds = wait.as_nanos().div_ceil(1_000_000);
        status.metadata_mut().insert(PUSHBACK, i32::try_from(milliseconds).unwrap_or(i32::MAX).into());
    }
    status
}

fn details(error: &BrokerError, metadata: HashMap<String, String>, id: RequestId) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details.set_error_info(error.reason(), DOMAIN, metadata);
    details.set_request_info(id.to_string(), "");
    // Of an upstream failure, this is what is left of its backoff: `cache/backoff.rs` replaces AWS's own delay.
    if let Some(wait) = error.retry_after() {
        details.set_retry_info(Some(wait));
    }
    details
}

fn code(error: &BrokerError) -> Code {
    match error {
        BrokerError::RequestInvalid { .. }
        | BrokerError::RegistryNotEcr { .. }
        | BrokerError::RegistryInvalid { .. }
        | BrokerError::ProfileUnknown { .. } => Code::InvalidArgument,
        BrokerError::CallerUnauthenticated { .. } => Code::Unauthenticated,
        BrokerError::CallerNotAllowed => Code::PermissionDenied,
        BrokerError::ValidityUnsatisfiable { .. } | BrokerError::Chain(_) => Code::FailedPrecondition,
        BrokerError::Upstream(failure) => match failure.class {
            FailureClass::Throttled | FailureClass::Overloaded => Code::ResourceExhausted,
            FailureClass::Denied | FailureClass::ParentDenied => Code::PermissionDenied,
            FailureClass::Misconfigured => Code::FailedPrecondition,
            FailureClass::NoCredentials
            | FailureClass::ClockSkewed
            | FailureClass::Unavailable
            | FailureClass::InvalidResponse
            | FailureClass::ParentUnavailable => Code::Unavailable,
        },
        BrokerError::Overloaded { .. } | BrokerError::QueueFull { .. } | BrokerError::CallerRateLimited { .. } => {
            Code::ResourceExhausted
        }
        BrokerError::AuditUnavailable | BrokerError::ShuttingDown => Code::Unavailable,
        BrokerError::Deadline => Code::DeadlineExceeded,
        BrokerError::Internal => Code::Internal,
    }
}

/// Returns the field that is wrong, and what is wrong with it.
fn violation(error: &BrokerError) -> Option<(&'static str, String)> {
    match error {
        BrokerError::RequestInvalid { field, problem } => Some((field, problem.clone())),
        BrokerError::RegistryNotEcr { field, problem } | BrokerError::RegistryInvalid { field, problem } => {
            Some((field, problem.clone()))
        }
        BrokerError::ProfileUnknown { .. } => Some(("profile", error.to_string())),
        BrokerError::CallerUnauthenticated { .. }
        | BrokerError::CallerRateLimited { .. }
        | BrokerError::CallerNotAllowed
        | BrokerError::ValidityUnsatisfiable { .. }
        | BrokerError::Upstream(_)
        | BrokerError::QueueFull { .. }
        | BrokerError::AuditUnavailable
        | BrokerError::Overloaded { .. }
        | BrokerError::ShuttingDown
        | BrokerError::Deadline
        | BrokerError::Chain(_)
        | BrokerError::Internal => None,
    }
}

fn metadata(error: &BrokerError, context: &ErrorContext) -> HashMap<String, String> {
    let upstream = if let BrokerError::Upstream(failure) = error { Some(failure) } else { None };
    let profile = context.profile.as_ref().map(ToString::to_string);
    // AWS is what a broker asks, unless its configuration says otherwise.
    let source = upstream.map(|failure| &failure.source).filter(|source| **source != SourceName::Aws);
    let known = [
        ("cause", cause(error)),
        ("registry", context.registry.as_deref()),
        ("account_id", context.account.as_deref()),
        ("region", context.region.as_deref()),
        ("profile", profile.as_deref()),
        ("aws_error_code", upstream.and_then(UpstreamError::aws_code)),
        ("source", source.map(SourceName::id)),
        ("aws_request_id", upstream.and_then(|failure| failure.request_id.as_deref())),
    ];
    known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
}

fn cause(error: &BrokerError) -> Option<&'static str> {
    match error {
        BrokerError::CallerUnauthenticated { cause, .. } => cause.map(AuthnCause::as_str),
        BrokerError::Chain(problem) => Some(problem.cause()),
        BrokerError::Upstream(failure) => failure.chain_problem().map(ChainProblem::cause),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
