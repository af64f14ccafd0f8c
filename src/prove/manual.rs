//! Checks that the operator runs by hand, because they need services or resources that the broker does not use.

use super::report::{Outcome, Verdict};
use crate::registry::Region;

const CHECKS: [(&str, &str, &str); 4] = [
    (
        "revocation-iam",
        "audit contain: an IAM policy of the role ends its tokens",
        "run the commands of: ecr-broker audit contain; pull with an old token: it must fail with 403",
    ),
    (
        "pull-through",
        "a first pull through a cache needs ecr:BatchImportUpstreamImage and ecr:CreateRepository",
        "pull RULE_PREFIX/IMAGE by a profile with access = \"pull\": it must fail until the image is cached",
    ),
    (
        "signing",
        "managed signing needs signer:SignPayload of who pushes",
        "aws ecr get-signing-configuration --region REGION; push by a narrowed profile and ask: \
         aws ecr describe-image-signing-status --repository-name NAME --image-id imageTag=TAG --region REGION",
    ),
    (
        "cloudtrail",
        "CloudTrail names the session and source identity of pulls by a token",
        "aws cloudtrail lookup-events --region REGION --lookup-attributes \
         AttributeKey=EventName,AttributeValue=BatchGetImage; look for userIdentity.arn and sessionContext.sourceIdentity",
    ),
];

/// Returns the checks with the region in their commands.
pub(super) fn all(region: &Region) -> Vec<Outcome> {
    let outcome = |(check, proves, command): (&str, &'static str, &str)| Outcome {
        check: check.to_owned(),
        proves,
        verdict: Verdict::Manual,
        reason: command.replace("REGION", region.as_str()),
        steps: Vec::new(),
    };
    CHECKS.map(outcome).into()
}
