//! Step `grant`: whether the broker's grants allow the request.

use super::super::finding::{Finding, StepResult};
use super::super::{grant_text, reason};
use super::CredentialAnswer;
use crate::client::Failure;
use crate::registry::Registry;

/// Reasons that end a request before the decision of the grants, or with it.
const NOT_ALLOWED: [&str; 6] = [
    "CALLER_NOT_ALLOWED",
    "PROFILE_UNKNOWN",
    "REGISTRY_INVALID",
    "REGISTRY_NOT_ECR",
    "REQUEST_INVALID",
    "CALLER_UNAUTHENTICATED",
];
/// Reasons that end a request after its grant, beside those of AWS.
const ALLOWED: [&str; 2] = ["VALIDITY_UNSATISFIABLE", "AUDIT_UNAVAILABLE"];

impl CredentialAnswer<'_> {
    pub(in crate::doctor) fn grant(&self) -> StepResult<()> {
        let failure = match &self.answer {
            Ok(credentials) => {
                let text = format!("{} is allowed, with profile {}", credentials.registry, credentials.profile);
                return (Finding::ok(text), Some(()));
            }
            Err(failure) => failure,
        };
        let reason = failure.reason.as_deref().unwrap_or_default();
        if NOT_ALLOWED.contains(&reason) {
            (self.not_allowed(reason, failure), None)
        } else if reason.starts_with("AWS_") || ALLOWED.contains(&reason) {
            (Finding::ok("the request is allowed"), Some(()))
        } else {
            (Finding::skip("not known: the request failed before the broker checked its grants"), Some(()))
        }
    }

    fn not_allowed(&self, reason: &str, failure: &Failure) -> Finding {
        let finding = Finding::failed_call(failure);
        match reason {
            "CALLER_NOT_ALLOWED" => self.missing_grant(finding),
            "PROFILE_UNKNOWN" => finding.fix(format!("use a profile that the broker has, or none: {}", self.profile_origin())),
            "REGISTRY_INVALID" | "REGISTRY_NOT_ECR" => finding.fix(
                "name the registry as AWS does (ACCOUNT.dkr.ecr.REGION.amazonaws.com, public.ecr.aws), or as the broker's [aliases] do; other registries do not need the broker",
            ),
            _ => finding.fix(reason::fix(failure, None)),
        }
    }

    /// A broker with grants does not tell whether a profile exists. A grant for an unknown one would make its configuration
    /// invalid.
    fn missing_grant(&self, finding: Finding) -> Finding {
        let profile = &self.effective.profile;
        let (finding, or) = if profile.is_empty() {
            (finding, "")
        } else {
            let fix = format!("request another profile, or none: {}", self.profile_origin());
            (finding.fix(fix), "or, if the broker has a profile of this name, ")
        };
        let explain = grant_text::explain_command(self.principal, self.registry, profile);
        finding
            .fix(format!("{or}{}", self.grant_fix()))
            .fix(format!("or ask the operator which grant decides: {explain}"))
    }

    fn grant_fix(&self) -> String {
        let Ok(registry) = self.registry.parse::<Registry>() else {
            return "ask the operator for a grant for you and the registry behind this name in [aliases]".to_owned();
        };
        match grant_text::block(self.principal, &registry, &self.effective.profile) {
            Some(block) => {
                format!(
                    "ask the operator to add this grant, unless another one denies the request (effect = \"deny\"):\n{block}"
                )
            }
            None => "ask the operator for a grant for you and this registry".to_owned(),
        }
    }

    fn profile_origin(&self) -> String {
        format!("{:?} comes from {}", self.effective.profile, self.effective.origin("profile"))
    }
}
