//! Session policies, built from typed parts: nothing that was typed becomes more than a name in them.

use std::fmt;
use std::str::FromStr;

use serde_json::json;

use super::Access;
use crate::quoted::Quoted;
use crate::registry::{AccountId, Partition};

/// What every credential needs to be minted; AWS has no narrower resource for them.
const MINT: [&str; 3] = ["ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"];
const PULL: [&str; 3] = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
const PUSH: [&str; 4] = ["ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"];

/// A repository's name, with one `*` at its end for whatever follows: `team-a/*`, `base/debian`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPattern(Box<str>);

/// Why a text is no pattern of repositories.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a repository: those are names in lower case such as \"team-a/app\", or the beginning of one and \"*\"",
    Quoted(text)
)]
pub struct RepositoryPatternError {
    text: String,
}

/// The policy of a profile in an account; none where it narrows nothing. An account that is not known may be any.
pub(super) fn of(
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
        repositories => repositories.iter().map(|RepositoryPattern(pattern)| arn(pattern)).collect(),
    };
    let mint = json!({ "Effect": "Allow", "Action": MINT, "Resource": ["*"] });
    let images = json!({ "Effect": "Allow", "Action": action, "Resource": resource });
    Some(json!({ "Version": "2012-10-17", "Statement": [mint, images] }).to_string())
}

impl FromStr for RepositoryPattern {
    type Err = RepositoryPatternError;

    /// ECR's own grammar of names, so that nothing else gets into an ARN: no `?`, no `:`, and no `*` but the last.
    fn from_str(text: &str) -> Result<Self, RepositoryPatternError> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte);
        let fits = !text.is_empty() && text.len() <= 256 && name.bytes().all(plain) && !name.starts_with('/');
        fits.then(|| Self(text.into())).ok_or_else(|| RepositoryPatternError { text: text.to_owned() })
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn policy(access: Access, repositories: &[&str]) -> Option<Value> {
        let repositories: Vec<_> = repositories.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let text = of(access, &repositories, Partition::AwsUsGov, "123456789012".parse().ok())?;
        Some(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn a_policy_holds_what_the_access_needs_and_nothing_else() {
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

    #[test]
    fn what_is_no_repository_does_not_get_into_a_policy() {
        for wrong in ["", "a*b", "*/x", "A", "a?", "a:b", "a\"b", "${x}", "/a", "a b", "a\n", &"a".repeat(257)] {
            assert!(wrong.parse::<RepositoryPattern>().is_err(), "{wrong:?}");
        }
    }
}
