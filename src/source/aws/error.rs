//! What went wrong with a call to AWS: put into a class, logged with what AWS said, and named for the caller.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId as _;
use tracing::{Span, warn};

use crate::error::{FailureClass, SourceName, UpstreamError};
use crate::source::span::record_failure;

/// The most that is logged of one thing that AWS says.
const LONGEST_LINE: usize = 500;
/// The longest name of an error or a request that is passed on.
const LONGEST_NAME: usize = 128;

/// Logs what is wrong with an answer that AWS gave.
pub(super) fn invalid_answer(problem: &str) -> UpstreamError {
    warn!(problem, "AWS response rejected");
    record(&UpstreamError::aws(FailureClass::InvalidResponse))
}

/// Puts an SDK error into its class, and logs what AWS said, for no caller will read it.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>) -> UpstreamError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let failure = UpstreamError {
        class: classify(error),
        source: SourceName::Aws,
        code: error.code().and_then(name),
        request_id: error.request_id().and_then(name),
        retry_after: error.raw_response().and_then(retry_after),
    };
    // Not the error's Debug: it prints the answer's body, and a token may be in it.
    warn!(
        class = ?failure.class,
        aws.error_code = failure.code,
        aws.request_id = failure.request_id,
        aws.message = error.message().map(first_line),
        error = %chain(error),
        "the call to AWS failed"
    );
    record(&failure)
}

fn record(failure: &UpstreamError) -> UpstreamError {
    record_failure(failure.class);
    let span = Span::current();
    if let Some(code) = &failure.code {
        span.record("aws.error_code", code);
    }
    record_request_id(failure.request_id.as_deref());
    failure.clone()
}

/// Notes the id that AWS gave the call in the call's span.
pub(super) fn record_request_id(id: Option<&str>) {
    if let Some(id) = id.and_then(name) {
        Span::current().record("aws.request_id", id);
    }
}

fn classify<E>(error: &SdkError<E, HttpResponse>) -> FailureClass
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) if is_about_credentials(error) => {
            classify_identity(error)
        }
        SdkError::ResponseError(answer) => classify_status(answer.raw().status().as_u16()),
        SdkError::ServiceError(answer) => match error.code() {
            Some(code) => classify_code(code, answer.raw().status().as_u16()),
            None => classify_status(answer.raw().status().as_u16()),
        },
        // Time limits, connections, and what later versions of the SDK may add.
        _ => FailureClass::Unavailable,
    }
}

/// Why there is no identity: as STS has it, where STS answered. A role that it refuses for good is a denial: what was minted with it
/// must go; one that it throttles is no identity that is missing.
fn classify_identity(error: &(dyn Error + 'static)) -> FailureClass {
    causes(error).skip(1).find_map(classify_sts).unwrap_or(FailureClass::NoCredentials)
}

fn classify_sts(cause: &(dyn Error + 'static)) -> Option<FailureClass> {
    if let Some(error) = cause.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>() {
        return classify_call_to_sts(error);
    }
    if let Some(error) = cause.downcast_ref::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>() {
        return classify_call_to_sts(error);
    }
    // As the SDK's own providers hand it on.
    let role = cause.downcast_ref::<AssumeRoleError>().map(ProvideErrorMetadata::meta);
    let web = cause.downcast_ref::<AssumeRoleWithWebIdentityError>().map(ProvideErrorMetadata::meta);
    role.or(web)?.code().map(|code| classify_code(code, 400))
}

/// None where it could not be made for want of another identity, which is further down.
fn classify_call_to_sts<E>(error: &SdkError<E, HttpResponse>) -> Option<FailureClass>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let for_want_of_another = !matches!(error, SdkError::ServiceError(_)) && is_about_credentials(error);
    (!for_want_of_another).then(|| classify(error))
}

/// AWS answers throttling, denials and unknown identities all with status 400, so the code decides.
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
        | "RequestExpired" => FailureClass::NoCredentials,
        "ServerException"
        | "InternalFailure"
        | "InternalServerException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "RequestAbortedException" => FailureClass::Unavailable,
        _ => classify_status(status),
    }
}

/// For answers without a code that is known: proxies, load balancers, and codes that AWS has yet to invent. None of them is a
/// denial, for a denial drops credentials that still work.
fn classify_status(status: u16) -> FailureClass {
    match status {
        429 => FailureClass::Throttled,
        408 | 500.. => FailureClass::Unavailable,
        _ => FailureClass::InvalidResponse,
    }
}

fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<CredentialsError>)
}

fn retry_after(answer: &HttpResponse) -> Option<Duration> {
    let number = |name| answer.headers().get(name)?.trim().parse().ok();
    number("x-amz-retry-after").map(Duration::from_millis).or_else(|| number("retry-after").map(Duration::from_secs))
}

/// An error and its causes, without their Debug; the last of an answer's, the metadata, has nothing else.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = causes(error).filter(|cause| !cause.is::<ErrorMetadata>());
    causes.map(|cause| first_line(&cause.to_string()).to_owned()).collect::<Vec<_>>().join(": ")
}

/// Where credentials were looked for, each on its line in the SDK's text; it holds nothing that AWS said.
pub(super) fn sources(error: &CredentialsError) -> String {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => error.to_string().replace('\n', "; "),
        _ => chain(error),
    }
}

/// The first line of what AWS says, and not too much of that. Where a signature does not match, the lines below repeat the whole
/// request, the broker's session token with it.
fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    &line[..line.floor_char_boundary(LONGEST_LINE)]
}

/// What AWS names an error or a request by, which goes to callers: nothing else gets through in its place.
pub(super) fn name(text: &str) -> Option<String> {
    let fits = text.len() <= LONGEST_NAME && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    fits.then(|| text.to_owned())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

#[cfg(test)]
mod tests;
