//! Role ARNs, with placeholders for the partition and account of the registry.

use std::fmt;
use std::str::FromStr;

use crate::quoted::Quoted;
use crate::registry::{AccountId, Partition};

/// The ARN of a role. `{partition}` and `{account}` in it stand for the partition and account of the requested registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleTemplate {
    partition: Option<Partition>,
    account: Option<AccountId>,
    /// The role with its path, from `role/` on.
    resource: Box<str>,
}

/// A role of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainedRole {
    /// The ARN.
    pub role: RoleTemplate,
    /// The external ID that the role's trust policy requires. No other role of the chain gets it: its CloudTrail would show it.
    pub external_id: Option<String>,
}

/// The error for a text that is not a role ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a role ARN; write arn:aws:iam::123456789012:role/NAME, with {{partition}} and {{account}} for the registry's own",
    Quoted(text)
)]
pub struct RoleTemplateError {
    text: String,
}

impl RoleTemplate {
    /// Returns the role's ARN for a registry; `None` if the template needs an account and none is known.
    #[must_use]
    pub fn arn(&self, partition: Partition, account: Option<AccountId>) -> Option<String> {
        let partition = self.partition.unwrap_or(partition).name();
        Some(format!("arn:{partition}:iam::{}:{}", self.account.or(account)?, self.resource))
    }

    /// Returns the account of the role; `None` if it is the registry's.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.account
    }

    pub(super) fn needs_account(&self) -> bool {
        self.account.is_none()
    }
}

impl fmt::Display for ChainedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.role.fmt(f)
    }
}

/// A role without an external ID.
impl FromStr for ChainedRole {
    type Err = RoleTemplateError;

    fn from_str(text: &str) -> Result<Self, RoleTemplateError> {
        Ok(Self { role: text.parse()?, external_id: None })
    }
}

impl FromStr for RoleTemplate {
    type Err = RoleTemplateError;

    fn from_str(text: &str) -> Result<Self, RoleTemplateError> {
        parse(text).ok_or_else(|| RoleTemplateError { text: text.to_owned() })
    }
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
    fn role_template_takes_partition_and_account_from_the_registry() {
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
}
