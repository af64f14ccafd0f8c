//! IAM roles and the parameters of the calls that assume one, with the checks STS makes.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::query::Form;
use super::session::Principal;
use crate::aws_wire::Refusal;
use crate::registry::{AccountId, Partition};

/// The sessions that STS grants, in seconds.
const DURATIONS: RangeInclusive<u64> = 900..=43_200;
const DEFAULT_DURATION: u64 = 3600;
/// The longest session that a session may ask for.
const LONGEST_CHAINED: u64 = 3600;
const LONGEST_POLICY: usize = 2048;
const LONGEST_ROLE_ARN: usize = 2048;

/// An IAM role, by what its ARN says.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) partition: Partition,
    pub(super) account: AccountId,
    pub(super) name: String,
}

/// What both ways to assume a role ask for.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) role: Role,
    pub(super) session_name: String,
    pub(super) duration: Duration,
    pub(super) packed_policy_size: Option<usize>,
    pub(super) source_identity: Option<String>,
}

impl FromStr for Role {
    type Err = Refusal;

    fn from_str(arn: &str) -> Result<Self, Refusal> {
        role(arn).filter(|_| arn.len() <= LONGEST_ROLE_ARN).ok_or_else(|| validation(format!("{arn} is invalid")))
    }
}

/// The role of `arn:aws:iam::123456789012:role/path/name`.
fn role(arn: &str) -> Option<Role> {
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

/// The names of roles and sessions.
fn is_name(name: &str, shortest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (shortest..=64).contains(&name.len()) && name.bytes().all(allowed)
}

impl Request {
    /// Reads and checks the parameters of a call that `caller` makes.
    pub(super) fn of(form: &Form, caller: &Principal) -> Result<Self, Refusal> {
        Ok(Self {
            role: required(form, "RoleArn")?.parse()?,
            session_name: session_name(form)?,
            duration: duration(form, caller)?,
            packed_policy_size: packed_policy_size(form)?,
            source_identity: source_identity(form, caller)?,
        })
    }
}

/// A parameter that STS insists on.
pub(super) fn required<'a>(form: &'a Form, name: &str) -> Result<&'a str, Refusal> {
    form.get(name).ok_or_else(|| constraint(name, "Member must not be null"))
}

fn session_name(form: &Form) -> Result<String, Refusal> {
    let name = required(form, "RoleSessionName")?;
    if !is_name(name, 2) {
        return Err(constraint(
            "RoleSessionName",
            "Member must have length between 2 and 64 and satisfy regular expression pattern: [\\w+=,.@-]*",
        ));
    }
    Ok(name.to_owned())
}

/// The one that is set now, else the one that the caller's own session has; that cannot be changed.
fn source_identity(form: &Form, caller: &Principal) -> Result<Option<String>, Refusal> {
    let Some(name) = form.get("SourceIdentity") else { return Ok(caller.source_identity.clone()) };
    if !is_name(name, 2) || name.starts_with("aws:") {
        return Err(constraint(
            "SourceIdentity",
            "Member must have length between 2 and 64 and satisfy regular expression pattern: [\\w+=,.@-]*",
        ));
    }
    if caller.source_identity.as_ref().is_some_and(|own| own != name) {
        return Err(Refusal::forbidden(
            "AccessDenied",
            format!("{} is not authorized to perform: sts:SetSourceIdentity", caller.arn),
        ));
    }
    Ok(Some(name.to_owned()))
}

fn duration(form: &Form, caller: &Principal) -> Result<Duration, Refusal> {
    let Some(text) = form.get("DurationSeconds") else { return Ok(Duration::from_secs(DEFAULT_DURATION)) };
    let seconds = text.parse().ok().filter(|seconds| DURATIONS.contains(seconds));
    let seconds =
        seconds.ok_or_else(|| constraint("DurationSeconds", "Member must have value between 900 and 43200"))?;
    if caller.is_session && seconds > LONGEST_CHAINED {
        return Err(validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    Ok(Duration::from_secs(seconds))
}

/// How much of the room for session policies is taken, in percent; `None` without a policy.
fn packed_policy_size(form: &Form) -> Result<Option<usize>, Refusal> {
    let Some(policy) = form.get("Policy") else { return Ok(None) };
    let length = policy.chars().count();
    if !(1..=LONGEST_POLICY).contains(&length) {
        return Err(constraint("Policy", "Member must have length between 1 and 2048"));
    }
    if serde_json::from_str::<Map<String, Value>>(policy).is_err() {
        return Err(Refusal::bad_request("MalformedPolicyDocument", "Syntax errors in policy."));
    }
    Ok(Some((length * 100).div_ceil(LONGEST_POLICY)))
}

/// The refusal of one parameter. It leaves the value out, for some of them are secrets.
pub(super) fn constraint(parameter: &str, constraint: &str) -> Refusal {
    validation(format!(
        "1 validation error detected: Value at '{parameter}' failed to satisfy constraint: {constraint}"
    ))
}

fn validation(problem: impl Into<String>) -> Refusal {
    Refusal::bad_request("ValidationError", problem)
}
