use super::*;

#[test]
fn failures_are_classified_by_code_and_only_without_one_by_status() {
    use FailureClass::{Denied, InvalidResponse, NoCredentials, Throttled, Unavailable};
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

#[test]
fn of_what_aws_says_the_first_line_is_logged_and_no_more_than_is_read() {
    let message =
        "The request signature we calculated does not match\n\nThe Canonical String:\nx-amz-security-token:secret";
    assert_eq!(first_line(message), "The request signature we calculated does not match");
    assert_eq!(first_line(&"é".repeat(1000)).len(), LONGEST_LINE);
    assert_eq!(first_line(""), "");
}

#[test]
fn only_names_are_passed_on_as_names() {
    for (text, passes) in [
        ("AccessDeniedException", true),
        ("6f3a0c1e-7b1d-4a63-9d0f-0d4e2c1b7a55", true),
        ("arn:aws:iam::123456789012:role/broker", false),
        ("User: x is not authorized", false),
        ("line\nbreak", false),
        (&"x".repeat(LONGEST_NAME + 1), false),
    ] {
        assert_eq!(name(text).is_some(), passes, "{text}");
    }
}
