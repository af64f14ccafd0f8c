//! Failures that a wrong clock of the broker causes.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use rustls::CertificateError;

use super::causes::causes;
use crate::error::ClockSkew;

/// Shortest difference that counts. AWS's services accept signatures of five to fifteen minutes ago, and its SDKs suspect the clock
/// from four minutes.
const THRESHOLD: Duration = Duration::from_mins(4);
/// Beginnings of AWS's message for a signature that is valid at another time. A wrong key has the same code, whatever the clock:
/// AWS checks the time first.
const MESSAGES: [&str; 2] = ["Signature expired", "Signature not yet current"];

/// Returns the difference of the broker's clock from AWS's, if it is large enough to matter. AWS's clock is in the `Date` header of
/// the response: of the failed call, or of the call to STS among the causes.
pub(super) fn skew<E>(error: &SdkError<E, HttpResponse>, now: SystemTime) -> Option<ClockSkew>
where
    E: Error + 'static,
{
    let response = error.raw_response().or_else(|| causes(error).find_map(sts_response))?;
    let date = DateTime::from_str(response.headers().get("date")?, Format::HttpDate).ok()?;
    let skew = ClockSkew::between(now, date.try_into().ok()?);
    (skew.amount() >= THRESHOLD).then_some(skew)
}

fn sts_response<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a HttpResponse> {
    let role = cause.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>();
    let web = cause.downcast_ref::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>();
    role.and_then(SdkError::raw_response).or_else(|| web.and_then(SdkError::raw_response))
}

/// Returns whether AWS rejects the time of the broker's request.
pub(super) fn is_to_blame(code: &str, message: &str) -> bool {
    match code {
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => true,
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "AuthFailure" => {
            MESSAGES.iter().any(|start| message.starts_with(start))
        }
        _ => false,
    }
}

/// Returns whether the skew may be why an identity has expired: with a slow clock the SDK uses a session past its end. Such a
/// failure stays a refusal of the identity, because a new session works at once.
pub(super) fn may_outlive_sessions(code: &str, skew: ClockSkew) -> bool {
    matches!(code, "ExpiredToken" | "ExpiredTokenException") && !skew.is_ahead()
}

/// Returns whether TLS failed because a certificate is not valid at the broker's time.
pub(super) fn is_outside_certificate_validity(error: &(dyn Error + 'static)) -> bool {
    tls_error(error).is_some_and(is_about_time)
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|cause| {
        // `source()` of an io::Error skips the wrapped error itself.
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause.downcast_ref().or_else(|| tls_error(inner?))
    })
}

fn is_about_time(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_blamed_by_code_or_message() {
        let expired = "Signature expired: 20260101T000000Z is now earlier than …";
        let future = "Signature not yet current: 20260101T000000Z is still later than …";
        let mismatch = "The request signature we calculated does not match the signature you provided.";
        for (code, message, blamed) in [
            ("RequestExpired", "", true),
            ("RequestTimeTooSkewed", "", true),
            ("RequestInTheFuture", "", true),
            ("InvalidSignatureException", expired, true),
            ("InvalidSignatureException", future, true),
            ("SignatureDoesNotMatch", expired, true),
            ("InvalidSignatureException", mismatch, false),
            ("SignatureDoesNotMatch", mismatch, false),
            ("ExpiredToken", "", false),
            ("ExpiredTokenException", "", false),
            ("UnrecognizedClientException", "", false),
            ("AccessDeniedException", "", false),
        ] {
            assert_eq!(is_to_blame(code, message), blamed, "{code} {message}");
        }
    }

    #[test]
    fn only_a_slow_clock_may_use_a_session_past_its_end() {
        let (early, late) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + THRESHOLD);
        let (behind, ahead) = (ClockSkew::between(early, late), ClockSkew::between(late, early));
        assert!(may_outlive_sessions("ExpiredToken", behind) && may_outlive_sessions("ExpiredTokenException", behind));
        assert!(!may_outlive_sessions("ExpiredTokenException", ahead));
        assert!(!may_outlive_sessions("InvalidSignatureException", behind));
    }

    #[test]
    fn certificate_outside_its_validity_is_found_among_the_causes() {
        let tls = |problem| io::Error::other(rustls::Error::InvalidCertificate(problem));
        assert!(is_outside_certificate_validity(&tls(CertificateError::Expired)));
        assert!(is_outside_certificate_validity(&io::Error::other(tls(CertificateError::NotValidYet))));
        assert!(!is_outside_certificate_validity(&tls(CertificateError::UnknownIssuer)));
        assert!(!is_outside_certificate_validity(&io::Error::from(io::ErrorKind::ConnectionRefused)));
    }
}
