//! Refusals of AWS that an operator can end: what they mean, and what to change.

use aws_smithy_types::error::ErrorMetadata;

use crate::error::AwsRefusal;

/// A refusal, as AWS's answer tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::aws) struct Refusal(pub(super) AwsRefusal);

impl Refusal {
    /// Returns the refusal that an answer of STS is; `None` for any other answer. STS names the missing action only in its message.
    pub(in crate::source::aws) fn of(answer: &ErrorMetadata) -> Option<Self> {
        let names = |action: &str| answer.message().is_some_and(|message| message.contains(action));
        match answer.code()? {
            "AccessDenied" | "AccessDeniedException" if names("sts:TagSession") => Some(Self(AwsRefusal::TagSession)),
            "AccessDenied" | "AccessDeniedException" if names("sts:SetSourceIdentity") => {
                Some(Self(AwsRefusal::SetSourceIdentity))
            }
            "PackedPolicyTooLarge" | "PackedPolicyTooLargeException" => Some(Self(AwsRefusal::PackedPolicyTooLarge)),
            _ => None,
        }
    }

    /// Returns the fix, for the log.
    pub(in crate::source::aws) fn fix(self) -> &'static str {
        match self.0 {
            AwsRefusal::TagSession => {
                "allow sts:TagSession in the role's trust policy and in the policy of what assumes it (config check --roles prints \
                 both); tags of EKS Pod Identity are transitive: allow it in each role, or set disableSessionTags in the association"
            }
            AwsRefusal::SetSourceIdentity => {
                "allow sts:SetSourceIdentity in the role's trust policy and in the policy of what assumes it (config check --roles \
                 prints both), or remove source_identity from the profile"
            }
            AwsRefusal::PackedPolicyTooLarge => {
                "shorten the profile: fewer or shorter repositories, pull_through, mount_from and session_tags; tags of EKS Pod \
                 Identity take room too, until disableSessionTags is set in the association (config check --roles estimates the size)"
            }
            AwsRefusal::CreateBearerToken => {
                "allow signin:CreateBearerToken in the policy of the broker's identity, or of the profile's last role"
            }
            AwsRefusal::ShortLivedToken => {
                "remove max_lifetime from the grant: AWS does not issue such tokens for ECR in this account or region"
            }
        }
    }
}

impl From<AwsRefusal> for Refusal {
    fn from(refusal: AwsRefusal) -> Self {
        Self(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_known_by_code_and_missing_action() {
        let of = |code: &str, message: &str| {
            Refusal::of(&ErrorMetadata::builder().code(code).message(message).build()).map(|refusal| refusal.0)
        };
        let denied =
            "User: arn:aws:sts::1:assumed-role/a/b is not authorized to perform: sts:TagSession on resource: x";
        assert_eq!(of("AccessDenied", denied), Some(AwsRefusal::TagSession));
        let denied = denied.replace("TagSession", "SetSourceIdentity");
        assert_eq!(of("AccessDenied", &denied), Some(AwsRefusal::SetSourceIdentity));
        assert_eq!(of("AccessDenied", &denied.replace("SetSourceIdentity", "AssumeRole")), None);
        let large = "Packed size of session tags consumes 112% of allotted space.";
        assert_eq!(of("PackedPolicyTooLarge", large), Some(AwsRefusal::PackedPolicyTooLarge));
        assert_eq!(of("ValidationError", "sts:TagSession"), None);
    }
}
