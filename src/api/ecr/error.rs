//! The one mapping from [`BrokerError`] to an AWS error.
//!
//! Every code is one that ECR documents for `GetAuthorizationToken`, or for all its operations. Programs catch these by name, such as
//! boto3's `client.exceptions.ServerException`; AWS SDKs decide by code and status whether to retry.

use http::StatusCode;
use tracing::info;

use crate::audit::Proof;
use crate::aws_wire::AwsError;
use crate::caller::Principal;
use crate::error::{BrokerError, FailureClass};
use crate::rejections::{Kind, RejectionRecorder, Subject};
use crate::request_id::RequestId;

/// Returns the AWS error of an error, and logs or counts it; `registry` is the host that it is about, if known.
pub(super) fn to_aws_error(
    error: &BrokerError,
    registry: Option<&str>,
    id: RequestId,
    rejections: &RejectionRecorder,
) -> AwsError {
    // A denial was recorded with its reason where it was decided.
    let record = || rejections.admit(Subject::Caller(Principal::AwsApi), Kind::of(error, Proof::Secret));
    if !matches!(error, BrokerError::CallerNotAllowed) && record().is_some() {
        let (caller, reason) = (Principal::AwsApi, error.reason());
        info!(request_id = %id, %caller, reason, registry, error = %error, "request failed");
    }
    let (status, code) = code(error);
    let message = format!("{error} (request id {id})");
    AwsError { retry_after: error.retry_after(), ..AwsError::new(status, code, message) }
}

/// Returns the status and the code. SDKs retry throttling and status 500.
fn code(error: &BrokerError) -> (StatusCode, &'static str) {
    let wrong = (StatusCode::BAD_REQUEST, "InvalidParameterException");
    let denied = (StatusCode::BAD_REQUEST, "AccessDeniedException");
    let throttled = (StatusCode::BAD_REQUEST, "ThrottlingException");
    let failed = (StatusCode::INTERNAL_SERVER_ERROR, "ServerException");
    match error {
        BrokerError::RequestInvalid { .. }
        | BrokerError::RegistryNotEcr { .. }
        | BrokerError::RegistryInvalid { .. }
        | BrokerError::ProfileUnknown { .. }
        | BrokerError::ValidityUnsatisfiable { .. } => wrong,
        BrokerError::CallerUnauthenticated { .. } | BrokerError::CallerNotAllowed => denied,
        BrokerError::CallerRateLimited { .. } | BrokerError::Overloaded { .. } | BrokerError::QueueFull { .. } => {
            throttled
        }
        BrokerError::Upstream(failure) => match failure.class {
            FailureClass::Denied | FailureClass::ParentDenied => denied,
            FailureClass::Throttled | FailureClass::Overloaded => throttled,
            FailureClass::NoCredentials
            | FailureClass::Misconfigured
            | FailureClass::ClockSkewed
            | FailureClass::InvalidResponse
            | FailureClass::Unavailable
            | FailureClass::ParentUnavailable => failed,
        },
        BrokerError::AuditUnavailable
        | BrokerError::ShuttingDown
        | BrokerError::Deadline
        | BrokerError::Chain(_)
        | BrokerError::Internal => failed,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::error::UpstreamError;
    use crate::hops::ChainProblem;
    use crate::metrics::Registry;

    #[test]
    fn every_error_maps_to_an_exception_that_ecr_documents() {
        let upstream = |class| BrokerError::Upstream(UpstreamError::aws(class));
        let rejections =
            RejectionRecorder::new(NonZeroU32::MIN, None, Arc::new(SystemClock::new()), &mut Registry::default());
        let (problem, second) = (|| "wrong".to_owned(), Duration::from_secs(1));
        for (error, status, code) in [
            (BrokerError::RequestInvalid { field: "x", problem: problem() }, 400, "InvalidParameterException"),
            (BrokerError::RegistryNotEcr { field: "x", problem: problem() }, 400, "InvalidParameterException"),
            (BrokerError::RegistryInvalid { field: "x", problem: problem() }, 400, "InvalidParameterException"),
            (BrokerError::ProfileUnknown { profile: problem(), known: problem() }, 400, "InvalidParameterException"),
            (
                BrokerError::ValidityUnsatisfiable { asked: second.into(), limit: problem() },
                400,
                "InvalidParameterException",
            ),
            (BrokerError::unauthenticated("because"), 400, "AccessDeniedException"),
            (BrokerError::CallerNotAllowed, 400, "AccessDeniedException"),
            (BrokerError::CallerRateLimited { what: "much", retry_after: second }, 400, "ThrottlingException"),
            (BrokerError::Overloaded { resource: "callers", retry_after: second }, 400, "ThrottlingException"),
            (upstream(FailureClass::Denied), 400, "AccessDeniedException"),
            (upstream(FailureClass::Throttled), 400, "ThrottlingException"),
            (BrokerError::QueueFull { retry_after: second }, 400, "ThrottlingException"),
            (upstream(FailureClass::NoCredentials), 500, "ServerException"),
            (upstream(FailureClass::Misconfigured), 500, "ServerException"),
            (upstream(FailureClass::ClockSkewed), 500, "ServerException"),
            (upstream(FailureClass::InvalidResponse), 500, "ServerException"),
            (upstream(FailureClass::Unavailable), 500, "ServerException"),
            (upstream(FailureClass::ParentDenied), 400, "AccessDeniedException"),
            (upstream(FailureClass::ParentUnavailable), 500, "ServerException"),
            (upstream(FailureClass::Overloaded), 400, "ThrottlingException"),
            (BrokerError::AuditUnavailable, 500, "ServerException"),
            (BrokerError::ShuttingDown, 500, "ServerException"),
            (BrokerError::Deadline, 500, "ServerException"),
            (BrokerError::Chain(ChainProblem::Circle), 500, "ServerException"),
            (BrokerError::Internal, 500, "ServerException"),
        ] {
            let id = RequestId::random();
            let mapped = to_aws_error(&error, None, id, &rejections);
            assert_eq!((mapped.status.as_u16(), mapped.code), (status, code), "{error:?}");
            assert_eq!(mapped.message, format!("{error} (request id {id})"));
            assert_eq!(mapped.retry_after, error.retry_after());
        }
    }
}
