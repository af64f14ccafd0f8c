//! IAM roles, parsed from their ARNs.

use std::str::FromStr;

use super::parameter::validation;
use crate::aws_wire::AwsError;
use crate::registry::{AccountId, Partition};

const MAX_ARN: usize = 2048;

/// An IAM role, as far as its ARN describes it.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) partition: Partition,
    pub(super) account: AccountId,
    pub(super) name: String,
}

impl FromStr for Role {
    type Err = AwsError;

    fn from_str(arn: &str) -> Result<Self, AwsError> {
        parse(arn).filter(|_| arn.len() <= MAX_ARN).ok_or_else(|| validation(format!("{arn} is invalid")))
    }
}

/// Parses `arn:aws:iam::123456789012:role/path/name`.
fn parse(arn: &str) -> Option<Role> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else { return None };
    let (_path, name) = resource.strip_prefix("role")?.rsplit_once('/').filter(|(path, _)| is_path(path))?;
    Some(Role {
        partition: Partition::ALL.into_iter().find(|known| known.name() == partition)?,
        account: account.parse().ok()?,
        name: is_name(name, 1).then(|| name.to_owned())?,
    })
}

/// A path is empty or starts with a slash, as in `/division/team`.
fn is_path(path: &str) -> bool {
    path.is_empty() || (path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// Returns whether STS accepts the name of a role, a session or a source identity.
pub(super) fn is_name(name: &str, shortest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (shortest..=64).contains(&name.len()) && name.bytes().all(allowed)
}
