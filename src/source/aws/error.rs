//! Errors of calls to AWS: classifies them, logs AWS's message, and keeps only the parts that callers may read.

use std::error::Error;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId as _;
use tracing::{Span, warn};

pub(super) use self::cause_text::cause_text;
pub(super) use self::causes::causes;
use self::classify::identity_metadata;
pub(super) use self::classify::{answer_of_sts, classify};
pub(super) use self::refusal::Refusal;
use super::sts_budget::BudgetSpent;
use crate::clock::Clock;
use crate::error::{ClockSkew, FailureClass, SourceName, Stage, UpstreamError};
use crate::source::span::record_failure;

mod cause_text;
mod causes;
mod classify;
mod clock;
mod refusal;

/// Maximum length of a logged message of AWS, in bytes.
const MAX_LINE: usize = 500;
/// Maximum length of an error code or request ID, in bytes.
const MAX_NAME: usize = 128;

/// Logs and returns the failure of a response without a usable credential.
pub(super) fn invalid_response(problem: &str) -> UpstreamError {
    warn!(problem, "AWS response rejected");
    let failure = UpstreamError::aws(FailureClass::InvalidResponse);
    record(&failure);
    failure
}

/// Logs and returns the failure of a call that the broker must not make as it is configured.
pub(super) fn misconfigured(problem: &str) -> UpstreamError {
    let failure = UpstreamError::aws(FailureClass::Misconfigured);
    warn!(class = ?failure.class, problem, "AWS call failed");
    record(&failure);
    failure
}

/// Returns the class of an SDK error of a call that no request waits for.
pub(super) fn class_of<E>(error: &SdkError<E, HttpResponse>) -> FailureClass
where
    E: ProvideErrorMetadata + Error + 'static,
{
    classify(error)
}

/// The call that an error is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallContext<'a> {
    pub(super) clock: &'a dyn Clock,
    /// The region of ECR or ECR Public.
    pub(super) region: &'a str,
    /// The region of STS.
    pub(super) sts_region: Option<&'a str>,
}

/// Converts an SDK error. Logs AWS's message, which the caller does not get.
pub(super) fn upstream_error<E>(error: &SdkError<E, HttpResponse>, call: CallContext<'_>) -> UpstreamError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let failure = describe(error, call);
    // The error's Debug is not logged: it prints the response body, which may contain a token.
    warn!(
        class = ?failure.class,
        aws.error_code = failure.code,
        aws.request_id = failure.request_id,
        aws.message = metadata(error).1.message().map(first_line).filter(|message| !message.is_empty()),
        clock_skew = failure.clock_skew.map(tracing::field::display),
        error = %chain(error),
        "AWS call failed"
    );
    record(&failure);
    failure
}

/// Returns the parts of an error that callers may read.
fn describe<E>(error: &SdkError<E, HttpResponse>, call: CallContext<'_>) -> UpstreamError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (stage, answer) = metadata(error);
    let code = answer.code().and_then(safe_name);
    let blames_clock = match &code {
        Some(code) => clock::is_to_blame(code, answer.message().unwrap_or_default()),
        None => clock::is_outside_certificate_validity(error),
    };
    let explains =
        |skew: &ClockSkew| blames_clock || code.as_ref().is_some_and(|code| clock::may_outlive_sessions(code, *skew));
    let clock_skew = clock::skew(error, call.clock.now().wall).filter(explains);
    let region = match stage {
        Stage::Credential => Some(call.region),
        Stage::Identity => call.sts_region,
    };
    let refusal = (stage == Stage::Identity).then(|| Refusal::of(answer)).flatten();
    UpstreamError {
        refusal: refusal.map(|refusal| refusal.0),
        class: if blames_clock { FailureClass::ClockSkewed } else { classify(error) },
        source: SourceName::Aws,
        stage,
        code,
        region: region.and_then(safe_name),
        clock_skew,
        request_id: error.request_id().and_then(safe_name),
        retry_after: error.raw_response().and_then(retry_after).or_else(|| budget_delay(error)),
    }
}

/// Returns AWS's answer: of STS, if the identity failed, else of the call itself.
fn metadata<E>(error: &SdkError<E, HttpResponse>) -> (Stage, &ErrorMetadata)
where
    E: ProvideErrorMetadata + Error + 'static,
{
    identity_metadata(error).map_or_else(|| (Stage::Credential, error.meta()), |metadata| (Stage::Identity, metadata))
}

fn record(failure: &UpstreamError) {
    record_failure(failure.class);
    if let Some(code) = &failure.code {
        Span::current().record("aws.error_code", code);
    }
    record_request_id(failure.request_id.as_deref());
}

/// Records AWS's request ID in the fetch's span.
pub(super) fn record_request_id(id: Option<&str>) {
    if let Some(id) = id.and_then(safe_name) {
        Span::current().record("aws.request_id", id);
    }
}

fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let number = |name| response.headers().get(name)?.trim().parse().ok();
    number("x-amz-retry-after").map(Duration::from_millis).or_else(|| number("retry-after").map(Duration::from_secs))
}

/// Returns the time until the budget of STS calls has one again, if the error is that it has none.
fn budget_delay(error: &(dyn Error + 'static)) -> Option<Duration> {
    causes(error).find_map(|cause| cause.downcast_ref::<BudgetSpent>()).map(|spent| spent.retry_after)
}

/// Returns the texts of an error and its causes. The metadata, which is the last cause, only repeats the others.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<_> = causes(error).filter(|cause| !cause.is::<ErrorMetadata>()).map(cause_text).collect();
    texts.dedup();
    texts.join(": ")
}

/// Returns the first line, truncated. After a signature mismatch, the other lines repeat the request with the broker's session
/// token.
pub(super) fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    &line[..line.floor_char_boundary(MAX_LINE)]
}

/// Returns `text` if it can be an error code or a request ID. Callers read it, so any other text is dropped.
pub(super) fn safe_name(text: &str) -> Option<Box<str>> {
    let fits =
        (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    fits.then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logged_message_is_the_first_line_truncated() {
        let message =
            "The request signature we calculated does not match\n\nThe Canonical String:\nx-amz-security-token:secret";
        assert_eq!(first_line(message), "The request signature we calculated does not match");
        assert_eq!(first_line(&"é".repeat(1000)).len(), MAX_LINE);
        assert_eq!(first_line(""), "");
    }

    #[test]
    fn safe_name_passes_codes_and_ids_and_nothing_else() {
        for (text, passes) in [
            ("AccessDeniedException", true),
            ("6f3a0c1e-7b1d-4a63-9d0f-0d4e2c1b7a55", true),
            ("arn:aws:iam::123456789012:role/broker", false),
            ("User: x is not authorized", false),
            ("line\nbreak", false),
            ("", false),
            (&"x".repeat(MAX_NAME + 1), false),
        ] {
            assert_eq!(safe_name(text).is_some(), passes, "{text}");
        }
    }
}
