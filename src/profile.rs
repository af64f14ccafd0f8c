//! Profiles: by which roles a credential is minted, and what it may do.
//!
//! An ECR token carries the rights of whoever asked for it. So a profile names the roles that the broker steps through before it
//! asks, and may narrow the last one by a session policy: what the token can do is what both allow.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::caller::{Caller, Principal};
use crate::credential::ProfileName;
use crate::quoted::Quoted;
use crate::registry::{AccountId, Partition};

mod session_policy;

pub use self::session_policy::{RepositoryPattern, RepositoryPatternError};

/// STS takes no longer policy.
const LONGEST_POLICY: usize = 2048;
/// The longest name of a partition, and an account: what a role and a policy are measured with.
const LONGEST_PARTITION: Partition = Partition::AwsUsGov;
/// STS takes no longer name of a session.
const LONGEST_SESSION: usize = 64;
/// What the names of all the broker's sessions begin with.
const SESSIONS: &str = "ecr-broker-";

/// How a credential is minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// The roles that are assumed, one from the other; the broker's own identity assumes the first.
    pub role_chain: Vec<RoleTemplate>,
    /// What the roles' trust policies want to be told.
    pub external_id: Option<String>,
    /// What the credential may do to images.
    pub access: Access,
    /// To images of which repositories; none: of all.
    pub repositories: Vec<RepositoryPattern>,
    /// Whom the sessions of its roles are named after.
    pub attribution: Attribution,
    /// Whether the sessions' name is their source identity too, which stays with all that is done with them. The roles' trust policies
    /// have to allow `sts:SetSourceIdentity`.
    pub source_identity: bool,
}

/// Whom AWS's trail of calls shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// The broker and the profile: callers share sessions and credentials.
    Broker,
    /// The caller: each has a session and credentials of its own.
    Caller,
}

/// What a credential may do to images, within what its role may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read them.
    Pull,
    /// Read and write them.
    Push,
    /// Whatever the role may.
    Full,
}

/// The ARN of a role, in which `{partition}` and `{account}` stand for those of the registry that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleTemplate {
    partition: Option<Partition>,
    account: Option<AccountId>,
    /// With its path, from `role/` on.
    resource: Box<str>,
}

/// Why a text is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not the ARN of a role: those are arn:aws:iam::123456789012:role/NAME, with {{partition}} and {{account}} for those of the registry",
    Quoted(text)
)]
pub struct RoleTemplateError {
    text: String,
}

impl Profile {
    /// Whether it can be used only where the registry's account is known.
    #[must_use]
    pub fn needs_account(&self) -> bool {
        self.role_chain.iter().any(|role| role.account.is_none())
    }

    /// The policy that narrows the last role's session; none where nothing is narrowed.
    #[must_use]
    pub fn session_policy(&self, partition: Partition, account: Option<AccountId>) -> Option<String> {
        session_policy::of(self.access, &self.repositories, partition, account)
    }

    /// Whether STS takes the session policy, whatever the registry.
    #[must_use]
    pub fn policy_fits(&self) -> bool {
        let account = "123456789012".parse().ok();
        self.session_policy(LONGEST_PARTITION, account).is_none_or(|policy| policy.len() <= LONGEST_POLICY)
    }

    /// Whether each caller has credentials of its own.
    #[must_use]
    pub fn is_for_each_caller(&self) -> bool {
        self.attribution == Attribution::Caller
    }

    /// Whom its credentials are for, of those who ask; none where that makes no difference.
    #[must_use]
    pub fn attributed_to(&self, caller: &Caller) -> Option<Principal> {
        self.is_for_each_caller().then(|| caller.principal())
    }

    /// The name of its sessions in AWS's trail of calls, for the caller that they are for.
    #[must_use]
    pub fn session_name(&self, caller: Option<&Principal>) -> String {
        caller.map_or_else(|| format!("{SESSIONS}{}", self.name), name_of_a_caller)
    }
}

impl RoleTemplate {
    /// The role's ARN for a registry; none where the account is not known and has to be.
    #[must_use]
    pub fn arn(&self, partition: Partition, account: Option<AccountId>) -> Option<String> {
        let partition = self.partition.unwrap_or(partition).name();
        Some(format!("arn:{partition}:iam::{}:{}", self.account.or(account)?, self.resource))
    }
}

impl FromStr for RoleTemplate {
    type Err = RoleTemplateError;

    fn from_str(text: &str) -> Result<Self, RoleTemplateError> {
        parse(text).ok_or_else(|| RoleTemplateError { text: text.to_owned() })
    }
}

/// STS takes letters, digits and a few signs, 64 in all: for people the end of the caller's name, which says most, and for certainty
/// the first 96 bits of a SHA-256 over all of it, for no two callers may have one name.
fn name_of_a_caller(caller: &Principal) -> String {
    let name = caller.to_string();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_=,.@-".contains(letter);
    let plain: Vec<_> = name.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect();
    let end: String = plain[plain.len().saturating_sub(LONGEST_SESSION - SESSIONS.len() - 25)..].iter().collect();
    format!("{SESSIONS}{end}.{}", HEXLOWER.encode(&Sha256::digest(name)[..12]))
}

fn parse(text: &str) -> Option<RoleTemplate> {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else { return None };
    let name = resource.strip_prefix("role/")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&byte);
    let fits = (1..=512).contains(&name.len()) && name.bytes().all(allowed) && !name.ends_with('/');
    Some(RoleTemplate {
        partition: match partition {
            "{partition}" => None,
            name => Some(Partition::ALL.into_iter().find(|one| one.name() == name)?),
        },
        account: match account {
            "{account}" => None,
            digits => Some(digits.parse().ok()?),
        },
        resource: fits.then(|| resource.into())?,
    })
}

impl fmt::Display for RoleTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partition = self.partition.map_or("{partition}", Partition::name);
        let account = self.account.map_or_else(|| "{account}".to_owned(), |account| account.to_string());
        write!(f, "arn:{partition}:iam::{account}:{}", self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_the_registry_s_own_where_its_template_says_so() {
        let account: AccountId = "123456789012".parse().unwrap();
        for (template, arn) in [
            ("arn:{partition}:iam::{account}:role/ecr-pull", "arn:aws-cn:iam::123456789012:role/ecr-pull"),
            ("arn:aws:iam::210987654321:role/team/hub", "arn:aws:iam::210987654321:role/team/hub"),
        ] {
            let role: RoleTemplate = template.parse().unwrap();
            assert_eq!(role.to_string(), template);
            assert_eq!(role.arn(Partition::AwsCn, Some(account)).as_deref(), Some(arn));
        }
        assert_eq!("arn:aws:iam::{account}:role/x".parse::<RoleTemplate>().unwrap().arn(Partition::Aws, None), None);
        for wrong in [
            "",
            "ecr-pull",
            "arn:aws:iam::1:role/x",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:sts::123456789012:assumed-role/x/y",
            "arn:azure:iam::123456789012:role/x",
            "arn:aws:iam:eu-west-1:123456789012:role/x",
            "arn:aws:iam::{region}:role/x",
        ] {
            assert!(wrong.parse::<RoleTemplate>().is_err(), "{wrong}");
        }
    }

    fn profile(repositories: &[&str]) -> Profile {
        let repositories = repositories.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let role_chain = vec!["arn:aws:iam::123456789012:role/x".parse().unwrap()];
        Profile {
            name: "ci".into(),
            role_chain,
            external_id: None,
            access: Access::Push,
            repositories,
            attribution: Attribution::Caller,
            source_identity: false,
        }
    }

    #[test]
    fn sessions_are_named_after_their_caller_and_no_two_alike() {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=,.@+-".contains(&byte);
        let long = "x".repeat(200);
        let callers = [
            "uid:1001,gid:5".to_owned(),
            "loopback".to_owned(),
            "spiffe://prod.example/ns/ci/sa/runner".to_owned(),
            "dns:build-1.corp.example".to_owned(),
            "jwt:github:repo:org@1/repo@2:ref:refs/heads/main".to_owned(),
            "jwt:github:repo:org@1/repo@2:ref:refs/heads-main".to_owned(),
            format!("jwt:blue:a{long}"),
            format!("jwt:blue:b{long}"),
            "jwt:blue:käse".to_owned(),
        ];
        let profile = profile(&[]);
        let of = |text: &String| profile.session_name(profile.attributed_to(&text.parse().unwrap()).as_ref());
        let names: std::collections::BTreeSet<_> = callers.iter().map(of).collect();
        assert_eq!(names.len(), callers.len());
        for name in &names {
            assert!((2..=64).contains(&name.len()) && name.bytes().all(allowed), "{name}");
        }
        let runner = of(&callers[2]);
        assert!(runner.starts_with("ecr-broker-prod.example-ns-ci-sa-runner."), "{runner}");
        assert_eq!(of(&callers[0]), of(&"uid:1001,gid:6".to_owned()), "a group makes no other caller");
        assert_eq!(profile.session_name(None), "ecr-broker-ci");
    }

    #[test]
    fn a_policy_that_sts_would_not_take_does_not_fit() {
        assert!(profile(&["team-a/*", "team-b/*"]).policy_fits());
        let many: Vec<_> = (0..30).map(|number| format!("a-rather-long-name-of-a-team-{number}/*")).collect();
        assert!(!profile(&many.iter().map(String::as_str).collect::<Vec<_>>()).policy_fits());
    }
}
