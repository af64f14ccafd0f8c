//! Revocation of role sessions: the IAM statement that AWS documents for it, and what it does not reach.
//!
//! IAM evaluates permissions at each request, so a role that denies everything to sessions from before a time ends them. AWS's
//! console attaches the same statement, as the inline policy `AWSRevokeOlderSessions`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::live::{Holding, Releases};
use crate::registry::{AccountId, Registry};

/// Name of the inline policy, as AWS's console names it.
pub const POLICY_NAME: &str = "AWSRevokeOlderSessions";

/// The identity that minted credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Minted {
    /// A role, whose sessions the statement ends.
    ByRole {
        /// The role's account.
        account: AccountId,
        /// The role's name, without its path. It needs no quotes in a shell.
        name: String,
    },
    /// A role that only AWS changes.
    ByManagedRole,
    /// A user or root: access keys have no issue time.
    ByKeys,
    /// An identity that the records do not name.
    ByUnnamed,
    /// An identity that is none of these.
    ByOther,
}

/// The credentials that one identity minted.
#[derive(Debug)]
pub struct MintedCredentials {
    /// Its ARN; empty if the records do not name it.
    pub arn: String,
    /// Its kind.
    pub minted: Minted,
    /// The profiles.
    pub profiles: BTreeSet<String>,
    /// Number of the credentials.
    pub count: usize,
    /// The last expiry.
    pub until: SystemTime,
    /// Whether one of them is for ECR Public.
    pub has_public: bool,
}

/// Groups credentials by the identity that minted them.
#[must_use]
pub fn by_minter(held: &BTreeMap<Holding, Releases>) -> Vec<MintedCredentials> {
    // The first record of a credential may lack the name of the broker's own identity.
    let arn = |(one, it): (&Holding, &Releases)| Some((one.credential_id.clone(), it.minted_by.clone()?));
    let arns: BTreeMap<_, _> = held.iter().filter_map(arn).collect();
    let mut minters = BTreeMap::<_, Vec<_>>::new();
    for (holding, releases) in held {
        let arn = arns.get(&holding.credential_id).cloned().unwrap_or_default();
        minters.entry(arn).or_default().push((holding, releases));
    }
    minters.into_iter().map(|(arn, credentials)| MintedCredentials::new(arn, &credentials)).collect()
}

/// Returns the policy that ends the sessions of a role from before a time.
#[must_use]
pub fn policy(before: &str) -> Value {
    let issued_before = json!({ "DateLessThan": { "aws:TokenIssueTime": before } });
    let statement = json!({ "Effect": "Deny", "Action": ["*"], "Resource": ["*"], "Condition": issued_before });
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

/// Returns the policy that ends one session of a role: those of its name from before a time. `source_identity`: the profile names its
/// sessions' source identity, too, which a session keeps when it assumes another role.
///
/// The policy is the role's own, so that any unique ID of a role may stand before the session's name. `None`: the name could match
/// other sessions.
#[must_use]
pub fn session_policy(name: &str, source_identity: bool, before: &str) -> Option<Value> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !(2..=64).contains(&name.len()) || !name.bytes().all(is_plain) {
        return None;
    }
    let issued_before = json!({ "aws:TokenIssueTime": before });
    let deny = |operator: &str, key: &str, value: &str| {
        let condition = json!({ operator: { key: value }, "DateLessThan": issued_before });
        json!({ "Effect": "Deny", "Action": ["*"], "Resource": ["*"], "Condition": condition })
    };
    let by_name = deny("StringLike", "aws:userid", &format!("*:{name}"));
    let by_identity = source_identity.then(|| deny("StringEquals", "aws:SourceIdentity", name));
    let statements: Vec<_> = std::iter::once(by_name).chain(by_identity).collect();
    Some(json!({ "Version": "2012-10-17", "Statement": statements }))
}

impl MintedCredentials {
    fn new(arn: String, credentials: &[(&Holding, &Releases)]) -> Self {
        let ids: BTreeSet<_> = credentials.iter().map(|(one, _)| &one.credential_id).collect();
        let is_public = |(one, _): &(&Holding, &Releases)| Registry::PUBLIC_HOSTS.contains(&one.registry.as_str());
        Self {
            minted: Minted::of(&arn),
            arn,
            profiles: credentials.iter().map(|(_, it)| it.profile.clone()).collect(),
            count: ids.len(),
            until: credentials.iter().map(|(_, it)| it.expires).max().unwrap_or(SystemTime::UNIX_EPOCH),
            has_public: credentials.iter().any(is_public),
        }
    }
}

impl Minted {
    /// Returns the kind of the identity that an ARN names.
    #[must_use]
    pub fn of(arn: &str) -> Self {
        let parts: Vec<_> = arn.splitn(6, ':').collect();
        let ["arn", _, "iam", "", account, resource] = parts[..] else {
            return if arn.is_empty() { Self::ByUnnamed } else { Self::ByOther };
        };
        match (resource.split_once('/'), account.parse()) {
            (Some(("role", path)), Ok(account)) => Self::of_role(account, path),
            (Some(("user", _)), _) => Self::ByKeys,
            _ if resource == "root" => Self::ByKeys,
            _ => Self::ByOther,
        }
    }

    fn of_role(account: AccountId, path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or_default();
        let managed = ["AWSReservedSSO_", "AWSServiceRoleFor"].iter().any(|prefix| name.starts_with(prefix));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
        match name {
            _ if managed || path.starts_with("aws-service-role/") || path.starts_with("aws-reserved/") => {
                Self::ByManagedRole
            }
            name if name.bytes().all(is_plain) && !name.is_empty() && !name.starts_with('-') => {
                Self::ByRole { account, name: name.to_owned() }
            }
            _ => Self::ByOther,
        }
    }

    /// Returns what to do about credentials whose sessions the statement does not end; empty if it does.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::ByRole { .. } => "",
            Self::ByManagedRole => {
                "AWS manages the role, so that it takes no policy; revoke its sessions in IAM Identity Center, and give the \
                 broker a role of yours"
            }
            Self::ByKeys => {
                "access keys have no issue time, so that the statement does not match them; give the broker a role, then \
                 deactivate the keys (aws iam update-access-key --status Inactive) and deny the user everything"
            }
            Self::ByUnnamed => {
                "the records do not name the identity; for the profile default run aws sts get-caller-identity as the broker, \
                 for another profile see the last role of its role_chain, then attach the policy to that role"
            }
            Self::ByOther => {
                "the identity is not a role; deny it everything where it is defined, and give the broker a role"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_roles_that_a_customer_may_change_are_contained() {
        let role = |name: &str| Minted::ByRole { account: "123456789012".parse().unwrap(), name: name.to_owned() };
        for (arn, minted) in [
            ("arn:aws:iam::123456789012:role/pull", role("pull")),
            ("arn:aws-cn:iam::123456789012:role/team/ci/pull+=,.@-_", role("pull+=,.@-_")),
            (
                "arn:aws:iam::123456789012:role/aws-service-role/x.amazonaws.com/AWSServiceRoleForX",
                Minted::ByManagedRole,
            ),
            ("arn:aws:iam::123456789012:role/AWSReservedSSO_Admin_0123456789abcdef", Minted::ByManagedRole),
            ("arn:aws:iam::123456789012:user/ci", Minted::ByKeys),
            ("arn:aws:iam::123456789012:root", Minted::ByKeys),
            ("arn:aws:sts::123456789012:federated-user/ci", Minted::ByOther),
            ("", Minted::ByUnnamed),
            // A record is a line of a file, and the name goes into a shell.
            ("arn:aws:iam::123456789012:role/pull;reboot", Minted::ByOther),
            ("arn:aws:iam::123456789012:role/$(reboot)", Minted::ByOther),
            ("arn:aws:iam::123456789012:role/--help", Minted::ByOther),
            ("arn:aws:iam::123456789012:role/", Minted::ByOther),
            ("arn:aws:iam::1:role/pull", Minted::ByOther),
        ] {
            assert_eq!(Minted::of(arn), minted, "{arn}");
            assert_eq!(minted.advice().is_empty(), matches!(minted, Minted::ByRole { .. }), "{arn}");
        }
    }

    #[test]
    fn credential_that_any_record_names_belongs_to_its_minter() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let held = |caller: &str, id: &str, expires: u64, arn: Option<&str>| {
            let (caller, registry) = (caller.to_owned(), "public.ecr.aws".to_owned());
            let releases = Releases {
                expires: at(expires),
                is_latest: false,
                count: 1,
                first: at(0),
                last: at(0),
                profile: "default".to_owned(),
                role_session: None,
                source: None,
                minted_by: arn.map(str::to_owned),
            };
            (Holding { caller, registry, credential_id: id.to_owned() }, releases)
        };
        let arn = "arn:aws:iam::123456789012:role/node";
        let held = BTreeMap::from([
            held("a", "1", 10, None),
            held("b", "1", 10, Some(arn)),
            held("b", "2", 30, Some(arn)),
            held("b", "3", 20, None),
        ]);
        let found = by_minter(&held);
        let found: Vec<_> = found.iter().map(|it| (it.arn.as_str(), it.count, it.until, it.has_public)).collect();
        assert_eq!(found, [("", 1, at(20), true), (arn, 2, at(30), true)]);
    }

    #[test]
    fn session_policy_denies_one_name_and_only_plain_ones() {
        let policy = session_policy("ecr-broker-pull", false, "2026-11-30T22:28:37Z").unwrap();
        let time = r#""DateLessThan":{"aws:TokenIssueTime":"2026-11-30T22:28:37Z"}"#;
        let deny = r#""Effect":"Deny","Action":["*"],"Resource":["*"],"Condition""#;
        let by_name = format!(r#"{{{deny}:{{"StringLike":{{"aws:userid":"*:ecr-broker-pull"}},{time}}}}}"#);
        let whole = |statements: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        assert_eq!(policy.to_string(), whole(&by_name));
        let policy = session_policy("ecr-broker-pull", true, "2026-11-30T22:28:37Z").unwrap();
        let by_identity = format!(r#"{{{deny}:{{"StringEquals":{{"aws:SourceIdentity":"ecr-broker-pull"}},{time}}}}}"#);
        assert_eq!(policy.to_string(), whole(&format!("{by_name},{by_identity}")));
        // A record is a line of a file: a name with a wildcard would match other sessions.
        for name in ["", "a", "*", "ecr-broker-*", "ecr-broker-pul?", "a'b", "a b", "${aws:username}", &"a".repeat(65)]
        {
            assert_eq!(session_policy(name, true, "2026-11-30T22:28:37Z"), None, "{name}");
        }
        assert!(session_policy(&"a".repeat(64), false, "2026-11-30T22:28:37Z").is_some());
    }

    #[test]
    fn policy_is_the_one_that_aws_documents() {
        let text = policy("2026-11-30T22:28:37Z").to_string();
        let condition = r#""Condition":{"DateLessThan":{"aws:TokenIssueTime":"2026-11-30T22:28:37Z"}}"#;
        let expected = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Deny","Action":["*"],"Resource":["*"],{condition}}}]}}"#
        );
        assert_eq!(text, expected);
    }
}
