//! Classification of failed calls to AWS.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_http::endpoint::ResolveEndpointError as RulesError;
use aws_smithy_runtime_api::client::endpoint::error::ResolveEndpointError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use http::uri::InvalidUri;

use super::causes::causes;
use crate::error::FailureClass;
use crate::source::aws::sts_budget::BudgetSpent;

/// Returns the class of an SDK error.
pub(in crate::source::aws) fn classify<E>(error: &SdkError<E, HttpResponse>) -> FailureClass
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) if is_about_credentials(error) => {
            classify_identity(error)
        }
        SdkError::ConstructionFailure(_) => FailureClass::Misconfigured,
        SdkError::DispatchFailure(failure) if failure.is_user() || is_unresolved(error) => FailureClass::Misconfigured,
        SdkError::ResponseError(response) => classify_status(response.raw().status().as_u16()),
        SdkError::ServiceError(response) => match error.code() {
            Some(code) => classify_code(code, response.raw().status().as_u16()),
            None => classify_status(response.raw().status().as_u16()),
        },
        // Timeouts, failed connections, and variants that later versions of the SDK add.
        _ => FailureClass::Unavailable,
    }
}

/// Classifies a missing identity. If STS answered, its error code decides. A role that STS denies is a denial, so that the cache
/// drops the role's credentials. A role that STS throttles is not a missing identity.
fn classify_identity(error: &(dyn Error + 'static)) -> FailureClass {
    causes(error).skip(1).find_map(classify_sts).unwrap_or(FailureClass::NoCredentials)
}

fn classify_sts(cause: &(dyn Error + 'static)) -> Option<FailureClass> {
    if cause.is::<BudgetSpent>() {
        return Some(FailureClass::Overloaded);
    }
    if let Some(error) = cause.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>() {
        return classify_call_to_sts(error);
    }
    if let Some(error) = cause.downcast_ref::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>() {
        return classify_call_to_sts(error);
    }
    // The SDK's own providers wrap only the service error.
    answer_of_sts(cause)?.code().map(|code| classify_code(code, 400))
}

/// Returns the answer of STS if the failure is about the identity; empty if STS did not answer.
pub(super) fn identity_metadata<E>(error: &SdkError<E, HttpResponse>) -> Option<&ErrorMetadata>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let answered = matches!(error, SdkError::ServiceError(_) | SdkError::ResponseError(_));
    let about_identity = !answered && is_about_credentials(error);
    about_identity.then(|| causes(error).skip(1).find_map(answer_of_sts).unwrap_or_else(|| error.meta()))
}

/// Returns STS's answer if `cause` is one.
pub(in crate::source::aws) fn answer_of_sts<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a ErrorMetadata> {
    let role = cause.downcast_ref::<AssumeRoleError>().map(ProvideErrorMetadata::meta);
    role.or_else(|| cause.downcast_ref::<AssumeRoleWithWebIdentityError>().map(ProvideErrorMetadata::meta))
}

/// Classifies a call to STS; `None` if the call lacked an identity itself. That cause is further down the chain.
fn classify_call_to_sts<E>(error: &SdkError<E, HttpResponse>) -> Option<FailureClass>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let lacked_identity = !matches!(error, SdkError::ServiceError(_)) && is_about_credentials(error);
    (!lacked_identity).then(|| classify(error))
}

/// Classifies an error code. The status does not suffice: AWS uses 400 for throttling, denials and unknown identities alike.
fn classify_code(code: &str, status: u16) -> FailureClass {
    match code {
        "ThrottlingException"
        | "ThrottleException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "TooManyRequestsError"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "SlowDown"
        | "BandwidthLimitExceeded"
        | "PriorRequestNotComplete" => FailureClass::Throttled,
        "AccessDeniedException"
        | "AccessDenied"
        | "NotAuthorized"
        | "OptInRequired"
        | "UnauthorizedOperation"
        | "RegionDisabledException" => FailureClass::Denied,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "AuthFailure"
        | "InvalidIdentityToken"
        | "InvalidIdentityTokenException"
        | "IDPRejectedClaim"
        | "IDPRejectedClaimException" => FailureClass::NoCredentials,
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => FailureClass::ClockSkewed,
        "ServerException"
        | "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "IDPCommunicationError"
        | "InternalServerException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "RequestAbortedException" => FailureClass::Unavailable,
        _ => classify_status(status),
    }
}

/// Classifies a response without a known code, from a proxy, a load balancer or a future version of AWS. It is never a denial,
/// because a denial drops credentials that still work.
fn classify_status(status: u16) -> FailureClass {
    match status {
        429 => FailureClass::Throttled,
        408 | 500.. => FailureClass::Unavailable,
        _ => FailureClass::InvalidResponse,
    }
}

/// Returns whether the SDK found no URL for the call, for example without a region. It had sent nothing.
fn is_unresolved(error: &(dyn Error + 'static)) -> bool {
    // The endpoint's rules, and the URL that they yield.
    causes(error)
        .any(|cause| cause.is::<RulesError>() || cause.is::<ResolveEndpointError>() || cause.is::<InvalidUri>())
}

fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<CredentialsError>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_class_follows_the_code_and_without_one_the_status() {
        use FailureClass::{ClockSkewed, Denied, InvalidResponse, NoCredentials, Throttled, Unavailable};
        for (code, status, class) in [
            ("ThrottlingException", 400, Throttled),
            ("ThrottleException", 400, Throttled),
            ("Throttling", 400, Throttled),
            ("TooManyRequestsException", 429, Throttled),
            ("RequestLimitExceeded", 503, Throttled),
            ("AccessDeniedException", 400, Denied),
            ("AccessDenied", 403, Denied),
            ("OptInRequired", 403, Denied),
            ("ExpiredTokenException", 400, NoCredentials),
            ("UnrecognizedClientException", 400, NoCredentials),
            ("InvalidClientTokenId", 403, NoCredentials),
            ("InvalidSignatureException", 403, NoCredentials),
            ("IncompleteSignature", 403, NoCredentials),
            ("AuthFailure", 401, NoCredentials),
            ("InvalidIdentityToken", 400, NoCredentials),
            ("IDPRejectedClaim", 403, NoCredentials),
            ("IDPCommunicationError", 400, Unavailable),
            ("RequestExpired", 400, ClockSkewed),
            ("RequestTimeTooSkewed", 403, ClockSkewed),
            ("RequestInTheFuture", 403, ClockSkewed),
            ("RegionDisabledException", 403, Denied),
            ("NotAuthorized", 401, Denied),
            ("RequestAbortedException", 400, Unavailable),
            ("RequestTimeoutException", 408, Unavailable),
            ("UnknownOperationException", 404, InvalidResponse),
            ("ValidationError", 400, InvalidResponse),
            ("UnsupportedCommandException", 400, InvalidResponse),
            ("ServerException", 400, Unavailable),
            ("InternalFailure", 500, Unavailable),
            ("ServiceUnavailable", 503, Unavailable),
            ("InvalidParameterException", 400, InvalidResponse),
            ("SomethingNew", 400, InvalidResponse),
            ("SomethingNew", 403, InvalidResponse),
            ("SomethingNew", 429, Throttled),
            ("SomethingNew", 500, Unavailable),
        ] {
            assert_eq!(classify_code(code, status), class, "{code} {status}");
        }
        for (status, class) in
            [(429, Throttled), (403, InvalidResponse), (408, Unavailable), (502, Unavailable), (200, InvalidResponse)]
        {
            assert_eq!(classify_status(status), class, "{status}");
        }
    }
}
