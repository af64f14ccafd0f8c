//! Session policies, built from typed parts. A configured text becomes a name in them and nothing more.

use serde_json::json;

use super::access::Access;
use super::repository::RepositoryPattern;
use crate::registry::{AccountId, Partition};

/// Actions that every request for a credential needs. AWS has no narrower resource for them than `*`.
const MINT: [&str; 3] = ["ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"];
const PULL: [&str; 3] = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
const PUSH: [&str; 4] = ["ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"];
/// STS rejects a longer policy.
const MAX_LENGTH: usize = 2048;
/// The partition with the longest name, for the longest possible policy.
const LONGEST_PARTITION: Partition = Partition::AwsUsGov;
/// Any account: all have the same length.
const ACCOUNT: &str = "123456789012";

/// Builds the policy for an account, or for every account if it is unknown. Returns `None` if the profile narrows nothing.
pub(super) fn build(
    access: Access,
    repositories: &[RepositoryPattern],
    partition: Partition,
    account: Option<AccountId>,
) -> Option<String> {
    let action = match access {
        Access::Full if repositories.is_empty() => return None,
        Access::Full => vec!["ecr:*"],
        Access::Pull => PULL.into(),
        Access::Push => PULL.into_iter().chain(PUSH).collect(),
    };
    let account = account.map_or_else(|| "*".to_owned(), |account| account.to_string());
    let arn = |pattern: &str| format!("arn:{}:ecr:*:{account}:repository/{pattern}", partition.name());
    let resource: Vec<String> = match repositories {
        [] => vec![arn("*")],
        repositories => repositories.iter().map(|pattern| arn(pattern.as_str())).collect(),
    };
    let mint = json!({ "Effect": "Allow", "Action": MINT, "Resource": ["*"] });
    let images = json!({ "Effect": "Allow", "Action": action, "Resource": resource });
    Some(json!({ "Version": "2012-10-17", "Statement": [mint, images] }).to_string())
}

/// Returns whether STS accepts the policy for every registry.
pub(super) fn fits(access: Access, repositories: &[RepositoryPattern]) -> bool {
    let longest = build(access, repositories, LONGEST_PARTITION, ACCOUNT.parse().ok());
    longest.is_none_or(|policy| policy.len() <= MAX_LENGTH)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn policy(access: Access, repositories: &[&str]) -> Option<Value> {
        let repositories: Vec<_> = repositories.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let text = build(access, &repositories, Partition::AwsUsGov, ACCOUNT.parse().ok())?;
        Some(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn session_policy_allows_what_the_access_needs_and_nothing_else() {
        assert_eq!(policy(Access::Full, &[]), None);
        let pull = policy(Access::Pull, &["team-a/*", "base/debian"]).unwrap();
        assert_eq!(pull["Version"], "2012-10-17");
        assert_eq!(pull["Statement"][0]["Resource"], json!(["*"]));
        assert_eq!(pull["Statement"][1]["Action"], json!(PULL));
        let arn = "arn:aws-us-gov:ecr:*:123456789012:repository";
        assert_eq!(pull["Statement"][1]["Resource"], json!([format!("{arn}/team-a/*"), format!("{arn}/base/debian")]));
        let push = policy(Access::Push, &[]).unwrap();
        assert_eq!(push["Statement"][1]["Resource"], json!([format!("{arn}/*")]));
        assert!(push["Statement"][1]["Action"].as_array().unwrap().contains(&json!("ecr:PutImage")));
        assert_eq!(policy(Access::Full, &["team-a/*"]).unwrap()["Statement"][1]["Action"], json!(["ecr:*"]));
    }
}
