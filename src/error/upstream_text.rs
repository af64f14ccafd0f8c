//! Texts of upstream failures: the problem, the source's error code and the fix.
//!
//! The code is part of the text, because operators search for it. The source's own message is not: it may hold ARNs.

use std::fmt;

use super::{AwsRefusal, FailureClass, SourceName, Stage, UpstreamError};

const ASK: &str = "ask the operator to look up the request id";
const RETRY: &str = "retry shortly";
/// What precedes the failure of a call that a parent broker made.
const RELAYED: &str = "at the parent broker: ";
const EXPIRED: &str = "AWS says that the broker's session or identity token has expired";

/// A problem and its fix.
#[derive(Debug, Clone, Copy)]
struct Text {
    problem: &'static str,
    /// Whether the region of the call follows the problem.
    names_region: bool,
    fix: &'static str,
}

impl Text {
    const fn new(problem: &'static str, fix: &'static str) -> Self {
        Self { problem, names_region: false, fix }
    }

    const fn in_region(problem: &'static str, fix: &'static str) -> Self {
        Self { problem, names_region: true, fix }
    }
}

impl UpstreamError {
    /// Returns whether the failure is AWS's, as a parent broker reported it.
    fn is_relayed(&self) -> bool {
        matches!(self.source, SourceName::Parent(_)) && self.class.is_of_aws()
    }

    fn text(&self) -> Text {
        if let Some(refusal) = self.refusal {
            return refused(refusal);
        }
        match (self.class, self.code.as_deref()) {
            (FailureClass::Throttled, _) => Text::new("AWS throttles the broker's calls", RETRY),
            (FailureClass::Denied, code) => denial(code, self.stage),
            (FailureClass::NoCredentials, None) => Text::new(
                "the broker has no valid AWS credentials",
                "give the broker an IAM role, AWS_* variables or AWS files",
            ),
            (FailureClass::NoCredentials, Some(_)) if self.clock_skew.is_some() => {
                Text::new(EXPIRED, "set the clock of the broker's host, or renew the token where it is issued")
            }
            (FailureClass::NoCredentials, Some(code)) => refused_identity(code),
            (FailureClass::ClockSkewed, None) => {
                Text::new("AWS's certificate is not valid by the broker's clock", "set the clock of the broker's host")
            }
            (FailureClass::ClockSkewed, Some(_)) => {
                Text::new("AWS rejects the broker's clock", "set the clock of the broker's host")
            }
            (FailureClass::Misconfigured, _) if self.source != SourceName::Aws => {
                Text::new("a setting of this broker or of its parent broker is missing or wrong", ASK)
            }
            (FailureClass::Misconfigured, _) => {
                Text::new("AWS was not called: a setting of the broker is missing or wrong", ASK)
            }
            (FailureClass::Unavailable, None) => Text::new("AWS is unreachable or does not answer", RETRY),
            (FailureClass::Unavailable, Some(_)) => Text::new("AWS failed", RETRY),
            (FailureClass::InvalidResponse, None) => Text::new("AWS returned no usable credential", ASK),
            (FailureClass::InvalidResponse, Some(_)) => Text::new("AWS rejects the broker's request", ASK),
            (FailureClass::ParentDenied, _) => Text::new(
                "the parent broker denied this broker access",
                "allow it in the parent's grants; its log has the reason",
            ),
            (FailureClass::ParentUnavailable, None) => {
                Text::new("the parent broker is unreachable or does not answer", RETRY)
            }
            (FailureClass::ParentUnavailable, Some(_)) => Text::new("the parent broker failed", RETRY),
            (FailureClass::Overloaded, _) if self.source == SourceName::Aws => {
                Text::new("the broker's budget of STS calls is used up", RETRY)
            }
            (FailureClass::Overloaded, _) => Text::new("the parent broker is at a limit", RETRY),
        }
    }
}

/// Returns the text for a refused role or short-lived token.
fn refused(refusal: AwsRefusal) -> Text {
    match refusal {
        AwsRefusal::TagSession => Text::new(
            "AWS denied the broker session tags",
            "allow sts:TagSession in the role's trust policy, and to what assumes it",
        ),
        AwsRefusal::SetSourceIdentity => Text::new(
            "AWS denied the broker a source identity",
            "allow sts:SetSourceIdentity in the role's trust policy, and to what assumes it",
        ),
        AwsRefusal::PackedPolicyTooLarge => Text::new(
            "AWS rejects the session policy and tags as too large",
            "shorten the profile's repositories or session_tags",
        ),
        AwsRefusal::CreateBearerToken => Text::new(
            "AWS denied the broker a short-lived token",
            "allow signin:CreateBearerToken in the policy of the broker or of its role",
        ),
        AwsRefusal::ShortLivedToken => Text::new(
            "AWS refuses short-lived tokens of the registry",
            "remove max_lifetime from the grant, or ask the operator",
        ),
    }
}

/// Returns the text for a code by which AWS denies access.
fn denial(code: Option<&str>, stage: Stage) -> Text {
    match (code, stage) {
        (Some("RegionDisabledException"), _) => {
            Text::in_region("AWS STS is not active", "activate it in the account's IAM settings")
        }
        (Some("OptInRequired"), _) => {
            Text::in_region("AWS denied access", "complete the account's sign-up, and enable the region")
        }
        (_, Stage::Identity) => {
            Text::new("AWS denied the broker a role", "allow it sts:AssumeRole, and name it in the role's trust policy")
        }
        (_, Stage::Credential) => Text::new(
            "AWS denied access",
            "allow GetAuthorizationToken in the broker's IAM policy (ECR Public: also sts:GetServiceBearerToken)",
        ),
    }
}

/// Returns the text for a code by which AWS refuses an identity.
fn refused_identity(code: &str) -> Text {
    match code {
        "UnrecognizedClientException" | "InvalidClientTokenId" => Text::in_region(
            "AWS does not know the broker's access key",
            "enable the region for the account, or renew the key",
        ),
        "ExpiredToken" | "ExpiredTokenException" => Text::new(EXPIRED, "renew it where it is issued"),
        "InvalidIdentityToken" | "IDPRejectedClaim" => Text::new(
            "AWS rejects the broker's web identity token",
            "correct its audience, the OIDC provider or the role's trust policy",
        ),
        _ => Text::new(
            "AWS rejects the broker's signature",
            "correct its secret access key, or the proxy that changes its requests",
        ),
    }
}

/// Writes `AWS rejects the broker's clock, 7m behind (RequestExpired); set the clock of the broker's host`.
impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = self.chain_problem() {
            return problem.fmt(f);
        }
        let Text { problem, names_region, fix } = self.text();
        if self.is_relayed() {
            f.write_str(RELAYED)?;
        }
        f.write_str(problem)?;
        if let Some(region) = self.region.as_ref().filter(|_| names_region) {
            write!(f, " in {region}")?;
        }
        if let Some(skew) = self.clock_skew {
            let subject = if self.class == FailureClass::ClockSkewed { "" } else { "and the broker's clock is " };
            write!(f, ", {subject}{skew}")?;
        }
        if let Some(code) = self.aws_code() {
            write!(f, " ({code})")?;
        }
        write!(f, "; {fix}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::error::ClockSkew;

    fn failure(class: FailureClass, code: &str) -> UpstreamError {
        let code = Some(code).filter(|code| !code.is_empty()).map(Into::into);
        UpstreamError { code, region: Some("eu-south-1".into()), ..UpstreamError::aws(class) }
    }

    #[test]
    fn failure_text_has_the_code_and_the_fix_of_the_code() {
        use FailureClass::{
            ClockSkewed, Denied, InvalidResponse, Misconfigured, NoCredentials, Throttled, Unavailable,
        };
        let denied =
            "allow GetAuthorizationToken in the broker's IAM policy (ECR Public: also sts:GetServiceBearerToken)";
        let signature = "correct its secret access key, or the proxy that changes its requests";
        for (class, code, problem, fix) in [
            (Throttled, "ThrottlingException", "AWS throttles the broker's calls (ThrottlingException)", RETRY),
            (Throttled, "", "AWS throttles the broker's calls", RETRY),
            (Denied, "AccessDeniedException", "AWS denied access (AccessDeniedException)", denied),
            (Denied, "", "AWS denied access", denied),
            (
                Denied,
                "OptInRequired",
                "AWS denied access in eu-south-1 (OptInRequired)",
                "complete the account's sign-up, and enable the region",
            ),
            (
                Denied,
                "RegionDisabledException",
                "AWS STS is not active in eu-south-1 (RegionDisabledException)",
                "activate it in the account's IAM settings",
            ),
            (
                NoCredentials,
                "",
                "the broker has no valid AWS credentials",
                "give the broker an IAM role, AWS_* variables or AWS files",
            ),
            (
                NoCredentials,
                "UnrecognizedClientException",
                "AWS does not know the broker's access key in eu-south-1 (UnrecognizedClientException)",
                "enable the region for the account, or renew the key",
            ),
            (
                NoCredentials,
                "ExpiredTokenException",
                &format!("{EXPIRED} (ExpiredTokenException)"),
                "renew it where it is issued",
            ),
            (
                NoCredentials,
                "InvalidIdentityToken",
                "AWS rejects the broker's web identity token (InvalidIdentityToken)",
                "correct its audience, the OIDC provider or the role's trust policy",
            ),
            (
                NoCredentials,
                "SignatureDoesNotMatch",
                "AWS rejects the broker's signature (SignatureDoesNotMatch)",
                signature,
            ),
            (
                ClockSkewed,
                "RequestExpired",
                "AWS rejects the broker's clock (RequestExpired)",
                "set the clock of the broker's host",
            ),
            (
                ClockSkewed,
                "",
                "AWS's certificate is not valid by the broker's clock",
                "set the clock of the broker's host",
            ),
            (Misconfigured, "", "AWS was not called: a setting of the broker is missing or wrong", ASK),
            (Unavailable, "InternalFailure", "AWS failed (InternalFailure)", RETRY),
            (Unavailable, "", "AWS is unreachable or does not answer", RETRY),
            (
                InvalidResponse,
                "UnknownOperationException",
                "AWS rejects the broker's request (UnknownOperationException)",
                ASK,
            ),
            (InvalidResponse, "", "AWS returned no usable credential", ASK),
        ] {
            assert_eq!(failure(class, code).to_string(), format!("{problem}; {fix}"), "{class:?} {code}");
            assert!(problem.len() + fix.len() <= 160, "{class:?} {code}: the inserted values have at most 50");
        }
    }

    #[test]
    fn failure_of_a_parent_differs_from_one_that_it_relays() {
        let source = SourceName::Parent("central".parse().unwrap());
        let of = |class, code| UpstreamError { source: source.clone(), ..failure(class, code) }.to_string();
        assert_eq!(
            of(FailureClass::Throttled, "ThrottlingException"),
            format!("at the parent broker: AWS throttles the broker's calls (ThrottlingException); {RETRY}")
        );
        assert_eq!(
            of(FailureClass::ParentUnavailable, ""),
            format!("the parent broker is unreachable or does not answer; {RETRY}")
        );
        assert_eq!(
            of(FailureClass::ParentUnavailable, "AUDIT_UNAVAILABLE"),
            format!("the parent broker failed; {RETRY}"),
            "a reason of the parent is not an error code of AWS"
        );
    }

    #[test]
    fn denied_role_is_not_blamed_on_the_permission_to_get_tokens() {
        let denied = UpstreamError { stage: Stage::Identity, ..failure(FailureClass::Denied, "AccessDenied") };
        let text = "AWS denied the broker a role (AccessDenied); allow it sts:AssumeRole, and name it in the role's trust policy";
        assert_eq!(denied.to_string(), text);
    }

    #[test]
    fn clock_skew_is_part_of_the_text() {
        let (broker, aws) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_mins(7));
        let clock_skew = Some(ClockSkew::between(broker, aws));
        let skewed = UpstreamError { clock_skew, ..failure(FailureClass::ClockSkewed, "RequestExpired") };
        let text = "AWS rejects the broker's clock, 7m behind (RequestExpired); set the clock of the broker's host";
        assert_eq!(skewed.to_string(), text);
        let expired = UpstreamError { clock_skew, ..failure(FailureClass::NoCredentials, "ExpiredToken") };
        let text = "AWS says that the broker's session or identity token has expired, and the broker's clock is 7m behind \
                    (ExpiredToken); set the clock of the broker's host, or renew the token where it is issued";
        assert_eq!(expired.to_string(), text);
    }
}
