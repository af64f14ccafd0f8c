//! What a parent's error means for this broker.

use std::time::Duration;

use tonic::Code;

use crate::client::Failure;
use crate::credential::ParentName;
use crate::error::{AuthnCause, BrokerError, FailureClass, SourceName, UpstreamError};
use crate::hops::{ChainProblem, Hops};
use crate::source::FetchError;

/// Longest text that is taken over from an error's details. AWS's codes and request IDs are shorter.
const MAX_DETAIL: usize = 128;

/// What a failed call means.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The parent answered.
    Answered(FetchError),
    /// The connection was lost. A new one to the same node may do.
    Lost(UpstreamError),
    /// The node does not serve; another one may.
    Elsewhere(UpstreamError),
}

/// Returns what the failure of a call to a parent means.
pub(super) fn of(parent: &ParentName, (asked, hops): (Duration, &Hops), failure: &Failure) -> Verdict {
    let unanswered = || UpstreamError::unanswered(SourceName::Parent(parent.clone()));
    match failure.reason.as_deref() {
        None if failure.connection_lost => Verdict::Lost(unanswered()),
        None if matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled) => {
            Verdict::Elsewhere(unanswered())
        }
        Some("SHUTTING_DOWN") => Verdict::Elsewhere(upstream(parent, FailureClass::ParentUnavailable, failure)),
        _ => Verdict::Answered(of_request(asked, hops, failure).unwrap_or_else(|| answer(parent, failure))),
    }
}

/// Returns the error of a request that the parent refuses, while others for the same credential may succeed: another validity, or
/// another way through the brokers.
fn of_request(asked: Duration, hops: &Hops, failure: &Failure) -> Option<FetchError> {
    let error = match failure.reason.as_deref()? {
        "VALIDITY_UNSATISFIABLE" => BrokerError::ValidityUnsatisfiable {
            asked: asked.into(),
            limit: "the parent broker allows less, or no new credential lasts this long; request less".to_owned(),
        },
        // Of a request of this broker's own callers, the problem is this broker's, and stays.
        "BROKER_MISCONFIGURED" if !hops.is_direct() => BrokerError::Chain(chain_problem(failure)?),
        _ => return None,
    };
    Some(FetchError::OfRequest(Box::new(error)))
}

/// Returns the error of a caller's token that has expired at the parent: in the queue, or by the parent's clock. The caller may still
/// have what is cached for it, and a new token brings a new answer.
pub(super) fn of_expired_token(failure: &Failure) -> Option<FetchError> {
    let cause = AuthnCause::TokenExpired;
    let is_expired = failure.reason.as_deref() == Some("CALLER_UNAUTHENTICATED")
        && failure.metadata.get("cause").is_some_and(|named| named == cause.as_str());
    let problem = "bearer token has expired at the parent broker; call again with a new token";
    let error = BrokerError::CallerUnauthenticated { problem, cause: Some(cause), retry_after: None };
    is_expired.then(|| FetchError::OfRequest(Box::new(error)))
}

fn chain_problem(failure: &Failure) -> Option<ChainProblem> {
    failure.metadata.get("cause").and_then(|cause| ChainProblem::of_cause(cause))
}

fn answer(parent: &ParentName, failure: &Failure) -> FetchError {
    upstream(parent, class(failure), failure).into()
}

/// Returns the class of an answer. A reason that this version does not know counts by its code.
fn class(failure: &Failure) -> FailureClass {
    match failure.reason.as_deref() {
        // With a delay the refusal passes: the parent waits for the keys of an issuer.
        Some("CALLER_UNAUTHENTICATED") if failure.retry_after.is_some() => FailureClass::ParentUnavailable,
        Some("CALLER_UNAUTHENTICATED" | "CALLER_NOT_ALLOWED" | "PARENT_DENIED") => FailureClass::ParentDenied,
        Some("AWS_ACCESS_DENIED") => FailureClass::Denied,
        Some("AWS_THROTTLED") => FailureClass::Throttled,
        Some("AWS_UNAVAILABLE") => FailureClass::Unavailable,
        Some("AWS_CREDENTIALS_UNAVAILABLE") => FailureClass::NoCredentials,
        Some("AWS_CLOCK_SKEWED") => FailureClass::ClockSkewed,
        Some("AWS_RESPONSE_INVALID") => FailureClass::InvalidResponse,
        Some("CALLER_RATE_LIMITED" | "OVERLOADED") => FailureClass::Overloaded,
        Some(_) => by_code(failure.code).unwrap_or(FailureClass::ParentUnavailable),
        // No broker answers without a reason, unless the message itself cannot be read.
        None => by_code(failure.code).unwrap_or(FailureClass::InvalidResponse),
    }
}

fn by_code(code: Code) -> Option<FailureClass> {
    match code {
        Code::PermissionDenied | Code::Unauthenticated => Some(FailureClass::ParentDenied),
        Code::ResourceExhausted => Some(FailureClass::Overloaded),
        Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound => Some(FailureClass::Misconfigured),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
            Some(FailureClass::ParentUnavailable)
        }
        _ => None,
    }
}

fn upstream(parent: &ParentName, class: FailureClass, failure: &Failure) -> UpstreamError {
    let detail = |key: &str| failure.metadata.get(key).filter(|text| is_short(text)).map(|text| text.as_str().into());
    let code = match chain_problem(failure) {
        Some(problem) => Some(problem.cause().into()),
        None if class.is_of_aws() => detail("aws_error_code"),
        None => failure.reason.as_deref().filter(|text| is_short(text)).map(Into::into),
    };
    UpstreamError {
        code,
        region: detail("region"),
        request_id: detail("aws_request_id"),
        retry_after: failure.retry_after.filter(|wait| *wait > Duration::ZERO),
        ..UpstreamError::new(SourceName::Parent(parent.clone()), class)
    }
}

/// Returns whether a text may be repeated: of a usual length, and without strange characters.
fn is_short(text: &str) -> bool {
    (1..=MAX_DETAIL).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn failure(code: Code, reason: &str, wait: Option<u64>) -> Failure {
        let mut details = ErrorDetails::new();
        if !reason.is_empty() {
            let metadata = [("aws_error_code", "AccessDeniedException"), ("region", "eu-\u{7f}1")];
            let metadata: HashMap<_, _> = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            details.set_error_info(reason, "ecr-broker", metadata);
        }
        if let Some(wait) = wait {
            details.set_retry_info(Some(Duration::from_secs(wait)));
        }
        Failure::from(Status::with_error_details(code, "text", details))
    }

    fn answered(code: Code, reason: &str, wait: Option<u64>) -> UpstreamError {
        match of(&"central".parse().unwrap(), (Duration::ZERO, &Hops::default()), &failure(code, reason, wait)) {
            Verdict::Answered(FetchError::Upstream(error)) => error,
            verdict => panic!("{reason}: {verdict:?}"),
        }
    }

    #[test]
    fn every_reason_of_a_parent_has_its_reason_here_and_keeps_its_delay() {
        use Code::{
            FailedPrecondition, InvalidArgument, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable,
        };
        for (code, reason, wait, expected) in [
            (PermissionDenied, "CALLER_NOT_ALLOWED", None, "PARENT_DENIED"),
            (Unauthenticated, "CALLER_UNAUTHENTICATED", None, "PARENT_DENIED"),
            (Unauthenticated, "CALLER_UNAUTHENTICATED", Some(3), "PARENT_UNAVAILABLE"),
            (PermissionDenied, "PARENT_DENIED", None, "PARENT_DENIED"),
            (PermissionDenied, "AWS_ACCESS_DENIED", None, "AWS_ACCESS_DENIED"),
            (ResourceExhausted, "AWS_THROTTLED", Some(7), "AWS_THROTTLED"),
            (ResourceExhausted, "OVERLOADED", Some(2), "OVERLOADED"),
            (ResourceExhausted, "CALLER_RATE_LIMITED", Some(2), "OVERLOADED"),
            (Unavailable, "AWS_UNAVAILABLE", Some(2), "AWS_UNAVAILABLE"),
            (Unavailable, "AWS_CREDENTIALS_UNAVAILABLE", Some(2), "AWS_CREDENTIALS_UNAVAILABLE"),
            (Unavailable, "AWS_CLOCK_SKEWED", Some(2), "AWS_CLOCK_SKEWED"),
            (Unavailable, "AWS_RESPONSE_INVALID", Some(2), "AWS_RESPONSE_INVALID"),
            (Unavailable, "AUDIT_UNAVAILABLE", Some(2), "PARENT_UNAVAILABLE"),
            (Unavailable, "PARENT_UNAVAILABLE", Some(9), "PARENT_UNAVAILABLE"),
            (Code::DeadlineExceeded, "DEADLINE", None, "PARENT_UNAVAILABLE"),
            (Code::Internal, "INTERNAL_ERROR", None, "PARENT_UNAVAILABLE"),
            (FailedPrecondition, "BROKER_MISCONFIGURED", None, "BROKER_MISCONFIGURED"),
            (InvalidArgument, "PROFILE_UNKNOWN", None, "BROKER_MISCONFIGURED"),
            (InvalidArgument, "REGISTRY_INVALID", None, "BROKER_MISCONFIGURED"),
            (Unavailable, "OF_A_NEWER_VERSION", Some(4), "PARENT_UNAVAILABLE"),
            (PermissionDenied, "OF_A_NEWER_VERSION", None, "PARENT_DENIED"),
            (ResourceExhausted, "OF_A_NEWER_VERSION", Some(4), "OVERLOADED"),
            (PermissionDenied, "", None, "PARENT_DENIED"),
            (Code::Internal, "", None, "AWS_RESPONSE_INVALID"),
            (Code::OutOfRange, "", None, "AWS_RESPONSE_INVALID"),
            (Code::Unimplemented, "", None, "AWS_RESPONSE_INVALID"),
        ] {
            let error = answered(code, reason, wait);
            assert_eq!(BrokerError::Upstream(error.clone()).reason(), expected, "{reason}");
            assert_eq!(error.retry_after, wait.map(Duration::from_secs), "{reason}");
            assert!(!error.is_unreachable_parent(), "{reason}: the parent answered");
        }
    }

    #[test]
    fn aws_code_is_kept_and_strange_details_are_not() {
        let denied = answered(Code::PermissionDenied, "AWS_ACCESS_DENIED", None);
        assert_eq!((denied.aws_code(), &denied.region), (Some("AccessDeniedException"), &None));
        assert_eq!(answered(Code::PermissionDenied, "CALLER_NOT_ALLOWED", None).aws_code(), None);
    }

    #[test]
    fn refusal_of_one_request_says_nothing_about_the_credential() {
        let parent = "central".parse().unwrap();
        let chain = |hops: &Hops| {
            let failure = failure(Code::FailedPrecondition, "BROKER_MISCONFIGURED", None);
            let metadata = [("cause".to_owned(), "TOO_MANY_HOPS".to_owned())].into();
            match of(&parent, (Duration::ZERO, hops), &Failure { metadata, ..failure }) {
                Verdict::Answered(error) => BrokerError::from(error),
                verdict => panic!("{verdict:?}"),
            }
        };
        assert_eq!(chain(&Hops::parse("1", None, None).unwrap()), BrokerError::Chain(ChainProblem::TooLong));
        let own = chain(&Hops::default());
        assert!(!own.is_of_request() && own.reason() == "BROKER_MISCONFIGURED", "{own:?}");
        assert_eq!(own.to_string(), ChainProblem::TooLong.to_string());
        let short = failure(Code::FailedPrecondition, "VALIDITY_UNSATISFIABLE", None);
        match of(&parent, (Duration::from_hours(11), &Hops::default()), &short) {
            Verdict::Answered(FetchError::OfRequest(error)) => assert_eq!(error.reason(), "VALIDITY_UNSATISFIABLE"),
            verdict => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn callers_expired_token_says_nothing_about_the_credential() {
        let refused = |cause: &str| Failure {
            metadata: [("cause".to_owned(), cause.to_owned())].into(),
            ..failure(Code::Unauthenticated, "CALLER_UNAUTHENTICATED", None)
        };
        let error = of_expired_token(&refused("TOKEN_EXPIRED")).map(BrokerError::from).unwrap();
        assert!(error.is_of_request() && error.reason() == "CALLER_UNAUTHENTICATED", "{error:?}");
        assert!(of_expired_token(&refused("TOKENS_NOT_ACCEPTED")).is_none());
        assert!(of_expired_token(&failure(Code::PermissionDenied, "CALLER_NOT_ALLOWED", None)).is_none());
    }

    #[test]
    fn parent_that_stops_or_does_not_answer_is_left_for_another_address() {
        let parent = "central".parse().unwrap();
        for (failure, is_unreachable) in [
            (failure(Code::Unavailable, "SHUTTING_DOWN", Some(1)), false),
            (failure(Code::Unavailable, "", None), true),
            (Failure::timed_out(), true),
        ] {
            match of(&parent, (Duration::ZERO, &Hops::default()), &failure) {
                Verdict::Elsewhere(error) => assert_eq!(error.is_unreachable_parent(), is_unreachable, "{failure}"),
                verdict => panic!("{failure}: {verdict:?}"),
            }
        }
        let lost = Failure { connection_lost: true, ..failure(Code::Unavailable, "", None) };
        assert!(
            matches!(of(&parent, (Duration::ZERO, &Hops::default()), &lost), Verdict::Lost(error) if error.is_unreachable_parent())
        );
    }
}
