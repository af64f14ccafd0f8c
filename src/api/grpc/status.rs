//! The only place where a [`BrokerError`] becomes a gRPC status.

use std::collections::HashMap;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use tracing::{debug, info};

use super::middleware::Call;
use crate::credential::ProfileName;
use crate::error::{BrokerError, FailureClass};
use crate::registry::Registry;
use crate::request_id::RequestId;

/// The domain of every reason.
const DOMAIN: &str = "ecr-broker";

/// What a request was about, as far as it was understood; goes into the error's metadata.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    registry: Option<String>,
    account: Option<String>,
    region: Option<String>,
    profile: String,
}

impl Subject {
    /// Without the region, which the caller did not name.
    pub(super) fn without_region(self) -> Self {
        // A host would name it, too.
        Self { region: None, registry: None, ..self }
    }

    /// By the name that the caller has for it; what is behind that is nobody's who may not have it.
    pub(super) fn known_as(self, alias: &str) -> Self {
        Self { registry: Some(alias.to_owned()), account: None, region: None, ..self }
    }

    pub(super) fn of(registry: &Registry, profile: &str) -> Self {
        Self {
            registry: registry.host(),
            account: registry.account().map(|account| account.to_string()),
            region: registry.region().map(ToString::to_string),
            profile: if profile.len() <= ProfileName::LONGEST { profile.to_owned() } else { String::new() },
        }
    }
}

/// The status that a caller gets, and one line in the log; calls that go well have none.
pub(super) fn refuse(error: &BrokerError, subject: &Subject, call: &Call) -> Status {
    if matches!(error, BrokerError::CallerNotAllowed | BrokerError::CallerRateLimited { .. }) {
        // They have their line, with the reason, where it was decided; those who ask too often do not fill the log.
        return status(error, subject, call.id);
    }
    if matches!(error, BrokerError::RegistryNotEcr { .. }) {
        // A helper asks about every registry there is, for it may be an alias.
        return quietly(error, subject, call);
    }
    info!(
        request_id = %call.id,
        trace_id = call.trace.map(tracing::field::display),
        reason = error.reason(),
        registry = subject.registry,
        error = %error,
        "request failed"
    );
    status(error, subject, call.id)
}

/// The same without a line, for what has one already or is nothing for the log.
pub(super) fn quietly(error: &BrokerError, subject: &Subject, call: &Call) -> Status {
    debug!(request_id = %call.id, registry = subject.registry, error = %error, "request failed");
    status(error, subject, call.id)
}

/// The status that a caller gets.
fn status(error: &BrokerError, subject: &Subject, id: RequestId) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(error.reason(), DOMAIN, metadata(error, subject));
    details.set_request_info(id.to_string(), "");
    if let Some(wait) = error.retry_after() {
        details.set_retry_info(Some(wait));
    }
    if let Some((field, problem)) = violation(error) {
        details.add_bad_request_violation(field, problem);
    }
    Status::with_error_details(code(error), error.to_string(), details)
}

/// The same as a message, for a place in a batch.
pub(super) fn message(status: &Status) -> tonic_types::Status {
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

fn code(error: &BrokerError) -> Code {
    match error {
        BrokerError::RequestInvalid { .. }
        | BrokerError::RegistryNotEcr { .. }
        | BrokerError::RegistryInvalid { .. }
        | BrokerError::ProfileUnknown { .. } => Code::InvalidArgument,
        BrokerError::CallerUnauthenticated { .. } => Code::Unauthenticated,
        BrokerError::CallerNotAllowed => Code::PermissionDenied,
        BrokerError::ValidityUnsatisfiable { .. } => Code::FailedPrecondition,
        BrokerError::Upstream(failure) => match failure.class {
            FailureClass::Throttled | FailureClass::QueueFull => Code::ResourceExhausted,
            FailureClass::Denied => Code::PermissionDenied,
            FailureClass::NoCredentials | FailureClass::Unavailable | FailureClass::InvalidAnswer => Code::Unavailable,
        },
        BrokerError::Overloaded { .. } | BrokerError::CallerRateLimited { .. } => Code::ResourceExhausted,
        BrokerError::AuditUnavailable | BrokerError::ShuttingDown => Code::Unavailable,
        BrokerError::Deadline => Code::DeadlineExceeded,
        BrokerError::Internal => Code::Internal,
    }
}

/// The field that is wrong, and how.
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
        | BrokerError::AuditUnavailable
        | BrokerError::Overloaded { .. }
        | BrokerError::ShuttingDown
        | BrokerError::Deadline
        | BrokerError::Internal => None,
    }
}

fn metadata(error: &BrokerError, subject: &Subject) -> HashMap<String, String> {
    let upstream = if let BrokerError::Upstream(failure) = error { Some(failure) } else { None };
    let profile = Some(&subject.profile).filter(|profile| !profile.is_empty());
    let known = [
        ("registry", subject.registry.as_ref()),
        ("account_id", subject.account.as_ref()),
        ("region", subject.region.as_ref()),
        ("profile", profile),
        ("aws_error_code", upstream.and_then(|failure| failure.aws_error_code.as_ref())),
        ("aws_request_id", upstream.and_then(|failure| failure.aws_request_id.as_ref())),
    ];
    known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.clone()))).collect()
}

#[cfg(test)]
mod tests;
