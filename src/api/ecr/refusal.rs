//! The only place where a [`BrokerError`] becomes an error of AWS's, by whose code SDKs know whether to try again.

use http::StatusCode;
use tracing::info;

use crate::aws_wire::AwsError;
use crate::error::{BrokerError, FailureClass};
use crate::request_id::RequestId;

/// The error that a caller gets, and one line in the log; `registry` is what it is about, where that is known.
pub(super) fn refuse(error: &BrokerError, registry: Option<&str>, id: RequestId) -> AwsError {
    // The others have their line, with the reason, where it was decided; those who ask too often do not fill the log.
    if !matches!(error, BrokerError::CallerNotAllowed | BrokerError::CallerRateLimited { .. }) {
        info!(request_id = %id, reason = error.reason(), registry, error = %error, "request failed");
    }
    let (status, code) = code(error);
    let refusal = AwsError::new(status, code, format!("{error} (request id {id})"));
    AwsError { retry_after: error.retry_after(), ..refusal }
}

/// SDKs try again what is throttled and what is a server's error.
fn code(error: &BrokerError) -> (StatusCode, &'static str) {
    let wrong = (StatusCode::BAD_REQUEST, "InvalidParameterException");
    let denied = (StatusCode::BAD_REQUEST, "AccessDeniedException");
    let throttled = (StatusCode::BAD_REQUEST, "ThrottlingException");
    let broken = (StatusCode::INTERNAL_SERVER_ERROR, "ServerException");
    let unavailable = (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    match error {
        BrokerError::RequestInvalid { .. }
        | BrokerError::RegistryNotEcr { .. }
        | BrokerError::RegistryInvalid { .. }
        | BrokerError::ProfileUnknown { .. }
        | BrokerError::ValidityUnsatisfiable { .. } => wrong,
        BrokerError::CallerUnauthenticated { .. } => (StatusCode::BAD_REQUEST, "UnrecognizedClientException"),
        BrokerError::CallerNotAllowed => denied,
        BrokerError::CallerRateLimited { .. } | BrokerError::Overloaded { .. } | BrokerError::QueueFull { .. } => {
            throttled
        }
        BrokerError::Upstream(failure) => match failure.class {
            FailureClass::Denied => denied,
            FailureClass::Throttled => throttled,
            FailureClass::NoCredentials | FailureClass::InvalidResponse => broken,
            FailureClass::Unavailable => unavailable,
        },
        BrokerError::AuditUnavailable | BrokerError::ShuttingDown | BrokerError::Deadline => unavailable,
        BrokerError::Internal => broken,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::UpstreamError;

    #[test]
    fn every_error_has_the_code_by_which_sdks_know_whether_to_try_again() {
        let upstream = |class| BrokerError::Upstream(UpstreamError::aws(class));
        let (problem, second) = (|| "wrong".to_owned(), Duration::from_secs(1));
        for (error, status, code) in [
            (BrokerError::RequestInvalid { field: "x", problem: problem() }, 400, "InvalidParameterException"),
            (BrokerError::RegistryNotEcr { field: "x", problem: problem() }, 400, "InvalidParameterException"),
            (BrokerError::RegistryInvalid { field: "x", problem: problem() }, 400, "InvalidParameterException"),
            (BrokerError::unauthenticated("because"), 400, "UnrecognizedClientException"),
            (BrokerError::CallerNotAllowed, 400, "AccessDeniedException"),
            (BrokerError::CallerRateLimited { what: "much", retry_after: second }, 400, "ThrottlingException"),
            (BrokerError::Overloaded { resource: "callers", retry_after: second }, 400, "ThrottlingException"),
            (upstream(FailureClass::Denied), 400, "AccessDeniedException"),
            (upstream(FailureClass::Throttled), 400, "ThrottlingException"),
            (BrokerError::QueueFull { retry_after: second }, 400, "ThrottlingException"),
            (upstream(FailureClass::NoCredentials), 500, "ServerException"),
            (upstream(FailureClass::InvalidResponse), 500, "ServerException"),
            (upstream(FailureClass::Unavailable), 503, "ServiceUnavailable"),
            (BrokerError::AuditUnavailable, 503, "ServiceUnavailable"),
            (BrokerError::ShuttingDown, 503, "ServiceUnavailable"),
            (BrokerError::Deadline, 503, "ServiceUnavailable"),
            (BrokerError::Internal, 500, "ServerException"),
        ] {
            let id = RequestId::random();
            let refusal = refuse(&error, None, id);
            assert_eq!((refusal.status.as_u16(), refusal.code), (status, code), "{error:?}");
            assert_eq!(refusal.message, format!("{error} (request id {id})"));
            assert_eq!(refusal.retry_after, error.retry_after());
        }
    }
}
