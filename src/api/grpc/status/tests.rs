use std::time::Duration;

use super::*;
use crate::broker::RequestContext;
use crate::caller::Caller;
use crate::error::{AuthnCause, UpstreamError};
use crate::hops::Hops;
use crate::registry::Registry;

fn upstream(class: FailureClass) -> BrokerError {
    let failure = UpstreamError {
        retry_after: Some(Duration::from_secs(7)),
        code: Some("SomeCode".into()),
        request_id: Some("some-id".into()),
        ..UpstreamError::aws(class)
    };
    BrokerError::Upstream(failure)
}

fn request(id: RequestId) -> CredentialRequest {
    let context = RequestContext { caller: Caller::Loopback, token: None, id, trace_id: None, hops: Hops::default() };
    let registry: Registry = "123456789012.dkr.ecr.eu-central-1.amazonaws.com".parse().unwrap();
    CredentialRequest { profile: Some("ci".into()), ..CredentialRequest::new(context, registry.into()) }
}

#[test]
fn every_error_maps_to_its_code_reason_and_details() {
    let queue_full = BrokerError::QueueFull { retry_after: Duration::from_secs(1) };
    let problem = || "wrong".to_owned();
    let asked = Duration::from_hours(11).into();
    for (error, code, reason, retry, field) in [
        (
            BrokerError::RequestInvalid { field: "target", problem: problem() },
            Code::InvalidArgument,
            "REQUEST_INVALID",
            false,
            Some("target"),
        ),
        (
            BrokerError::RegistryNotEcr { field: "registry", problem: problem() },
            Code::InvalidArgument,
            "REGISTRY_NOT_ECR",
            false,
            Some("registry"),
        ),
        (
            BrokerError::RegistryInvalid { field: "private_registry.region", problem: problem() },
            Code::InvalidArgument,
            "REGISTRY_INVALID",
            false,
            Some("private_registry.region"),
        ),
        (
            BrokerError::ProfileUnknown { profile: "p".into(), known: "default".into() },
            Code::InvalidArgument,
            "PROFILE_UNKNOWN",
            false,
            Some("profile"),
        ),
        (
            BrokerError::ValidityUnsatisfiable { asked, limit: "less".into() },
            Code::FailedPrecondition,
            "VALIDITY_UNSATISFIABLE",
            false,
            None,
        ),
        (BrokerError::unauthenticated("because"), Code::Unauthenticated, "CALLER_UNAUTHENTICATED", false, None),
        (
            BrokerError::CallerUnauthenticated {
                problem: "keys",
                cause: None,
                retry_after: Some(Duration::from_secs(1)),
            },
            Code::Unauthenticated,
            "CALLER_UNAUTHENTICATED",
            true,
            None,
        ),
        (
            BrokerError::CallerRateLimited { what: "too much", retry_after: Duration::from_secs(1) },
            Code::ResourceExhausted,
            "CALLER_RATE_LIMITED",
            true,
            None,
        ),
        (BrokerError::CallerNotAllowed, Code::PermissionDenied, "CALLER_NOT_ALLOWED", false, None),
        (upstream(FailureClass::Throttled), Code::ResourceExhausted, "AWS_THROTTLED", true, None),
        (upstream(FailureClass::Denied), Code::PermissionDenied, "AWS_ACCESS_DENIED", false, None),
        (upstream(FailureClass::NoCredentials), Code::Unavailable, "AWS_CREDENTIALS_UNAVAILABLE", true, None),
        (upstream(FailureClass::Misconfigured), Code::FailedPrecondition, "BROKER_MISCONFIGURED", false, None),
        (upstream(FailureClass::ClockSkewed), Code::Unavailable, "AWS_CLOCK_SKEWED", true, None),
        (upstream(FailureClass::Unavailable), Code::Unavailable, "AWS_UNAVAILABLE", true, None),
        (queue_full, Code::ResourceExhausted, "OVERLOADED", true, None),
        (upstream(FailureClass::InvalidResponse), Code::Unavailable, "AWS_RESPONSE_INVALID", true, None),
        (BrokerError::AuditUnavailable, Code::Unavailable, "AUDIT_UNAVAILABLE", true, None),
        (
            BrokerError::Overloaded { resource: "waiting callers", retry_after: Duration::from_secs(1) },
            Code::ResourceExhausted,
            "OVERLOADED",
            true,
            None,
        ),
        (BrokerError::ShuttingDown, Code::Unavailable, "SHUTTING_DOWN", true, None),
        (BrokerError::Deadline, Code::DeadlineExceeded, "DEADLINE", false, None),
        (BrokerError::Internal, Code::Internal, "INTERNAL_ERROR", false, None),
    ] {
        let id = RequestId::random();
        let status = status(&error, &ErrorContext::of(&request(id)), id);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(status.code(), code, "{reason}");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "ecr-broker"));
        assert_eq!(details.request_info().unwrap().request_id, id.to_string(), "{reason}");
        assert_eq!(details.retry_info().is_some(), retry, "{reason}");
        assert_eq!(pushback(&status).is_some(), retry, "{reason}");
        assert_eq!(details.bad_request().map(|bad| bad.field_violations[0].field.as_str()), field, "{reason}");
        assert_eq!(info.metadata["account_id"], "123456789012");
        assert_eq!(info.metadata["region"], "eu-central-1");
        assert_eq!(info.metadata["profile"], "ci");
        let aws = info.metadata.get("aws_error_code").map(String::as_str);
        assert_eq!(aws, matches!(error, BrokerError::Upstream(_)).then_some("SomeCode"), "{reason}");
    }
}

#[test]
fn cause_of_a_failed_authentication_is_metadata() {
    for (cause, expected) in [
        (AuthnCause::TokensNotAccepted, "TOKENS_NOT_ACCEPTED"),
        (AuthnCause::TokenExpired, "TOKEN_EXPIRED"),
        (AuthnCause::TokenNotYetValid, "TOKEN_NOT_YET_VALID"),
    ] {
        let error = BrokerError::CallerUnauthenticated { problem: "because", cause: Some(cause), retry_after: None };
        let status = status(&error, &ErrorContext::default(), RequestId::random());
        assert_eq!(status.get_error_details().error_info().unwrap().metadata["cause"], expected);
    }
}

#[test]
fn retry_info_is_the_delay_of_the_failure() {
    let status = status(&upstream(FailureClass::Throttled), &ErrorContext::default(), RequestId::random());
    assert_eq!(status.get_error_details().retry_info().unwrap().retry_delay, Some(Duration::from_secs(7)));
    assert_eq!(pushback(&status), Some("7000"));
}

/// gRPC reads a signed number of 32 bits. An earlier retry would meet the same error.
#[test]
fn retry_pushback_is_rounded_up_to_milliseconds_within_32_bits() {
    for (wait, expected) in [
        (Duration::ZERO, "0"),
        (Duration::from_nanos(1), "1"),
        (Duration::from_micros(1_500), "2"),
        (Duration::from_secs(30), "30000"),
        (Duration::MAX, "2147483647"),
    ] {
        let error = BrokerError::QueueFull { retry_after: wait };
        let status = status(&error, &ErrorContext::default(), RequestId::random());
        assert_eq!(pushback(&status), Some(expected), "{wait:?}");
    }
}

fn pushback(status: &Status) -> Option<&str> {
    Some(status.metadata().get(PUSHBACK)?.to_str().unwrap())
}

#[test]
fn error_in_a_batch_equals_the_error_of_a_single_call() {
    let alone = status(
        &BrokerError::Overloaded { resource: "waiting callers", retry_after: Duration::from_secs(1) },
        &ErrorContext::default(),
        RequestId::random(),
    );
    let message = to_message(&alone);
    assert_eq!(message.code, i32::from(alone.code()));
    assert_eq!(message.message, alone.message());
    assert_eq!(message.encode_to_vec(), alone.details());
}

#[test]
fn error_of_any_length_fits_into_trailers_with_its_reason() {
    let long = || "\u{10ffff}\n\"".repeat(20_000);
    let upstream = UpstreamError {
        code: Some(long().into()),
        region: Some(long().into()),
        request_id: Some(long().into()),
        ..UpstreamError::aws(FailureClass::Throttled)
    };
    let context = ErrorContext {
        registry: Some(long()),
        account: Some(long()),
        region: Some(long()),
        profile: Some(long().as_str().into()),
    };
    for error in [
        BrokerError::RequestInvalid { field: "target", problem: long() },
        BrokerError::RegistryNotEcr { field: "registry", problem: long() },
        BrokerError::RegistryInvalid { field: "registry", problem: long() },
        BrokerError::ProfileUnknown { profile: long(), known: long() },
        BrokerError::ValidityUnsatisfiable { asked: Duration::ZERO.into(), limit: long() },
        BrokerError::Upstream(upstream),
        BrokerError::CallerNotAllowed,
    ] {
        for context in [&context, &ErrorContext::default()] {
            let id = RequestId::random();
            let status = status(&error, context, id);
            let headers = status.clone().into_http::<()>();
            let size =
                headers.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>();
            assert!(size <= 8 * 1024, "{}: {size}", error.reason());
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().reason, error.reason());
            assert_eq!(details.request_info().unwrap().request_id, id.to_string());
            assert_eq!(details.retry_info().is_some(), error.retry_after().is_some());
            assert_eq!(pushback(&status).is_some(), error.retry_after().is_some());
        }
    }
}
