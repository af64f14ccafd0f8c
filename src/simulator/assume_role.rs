//! Parameters of the calls that assume a role, with STS's checks.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::parameter::{constraint, required, validation};
use super::principal::{Principal, Tag};
use super::query::Form;
use super::role::{Role, is_name};
use super::tags;
use crate::aws_wire::AwsError;
use crate::packed_size;

/// The session durations that STS accepts, in seconds.
const DURATIONS: RangeInclusive<u64> = 900..=43_200;
const DEFAULT_DURATION: u64 = 3600;
/// The longest session that a role session can request.
const MAX_CHAINED_DURATION: u64 = 3600;
const MAX_POLICY: usize = 2048;

/// The parameters that `AssumeRole` and `AssumeRoleWithWebIdentity` share.
#[derive(Debug)]
pub(super) struct AssumeRole {
    pub(super) role: Role,
    pub(super) session_name: String,
    pub(super) duration: Duration,
    pub(super) policy: Option<Value>,
    pub(super) packed_policy_size: Option<usize>,
    pub(super) source_identity: Option<String>,
    pub(super) tags: Vec<Tag>,
}

impl AssumeRole {
    /// Parses and checks the parameters of a call by `caller`. `may_tag` tells whether a role's trust policy allows `sts:TagSession`.
    pub(super) fn parse(form: &Form, caller: &Principal, may_tag: impl Fn(&str) -> bool) -> Result<Self, AwsError> {
        let arn = required(form, "RoleArn")?;
        let (role, session_name) = (arn.parse()?, session_name(form)?);
        let (duration, source_identity) = (duration(form, caller)?, source_identity(form, caller)?);
        let policy = policy(form)?;
        let tags = tags::of_call(form, caller, arn, may_tag(arn))?;
        let packed_policy_size = packed_policy_size(policy.as_ref().map(|(text, _)| *text), &tags)?;
        let policy = policy.map(|(_, policy)| policy);
        Ok(Self { role, session_name, duration, policy, packed_policy_size, source_identity, tags })
    }
}

fn session_name(form: &Form) -> Result<String, AwsError> {
    let name = required(form, "RoleSessionName")?;
    if !is_name(name, 2) {
        return Err(constraint(
            "RoleSessionName",
            "Member must have length between 2 and 64 and satisfy regular expression pattern: [\\w+=,.@-]*",
        ));
    }
    Ok(name.to_owned())
}

/// Returns the source identity of the new session. The caller's own session passes its source identity on and cannot change it.
fn source_identity(form: &Form, caller: &Principal) -> Result<Option<String>, AwsError> {
    let Some(name) = form.get("SourceIdentity") else { return Ok(caller.source_identity.clone()) };
    if !is_name(name, 2) || name.starts_with("aws:") {
        return Err(constraint(
            "SourceIdentity",
            "Member must have length between 2 and 64 and satisfy regular expression pattern: [\\w+=,.@-]*",
        ));
    }
    if caller.source_identity.as_ref().is_some_and(|own| own != name) {
        return Err(AwsError::forbidden(
            "AccessDenied",
            format!("{} is not authorized to perform: sts:SetSourceIdentity", caller.arn),
        ));
    }
    Ok(Some(name.to_owned()))
}

fn duration(form: &Form, caller: &Principal) -> Result<Duration, AwsError> {
    let Some(text) = form.get("DurationSeconds") else { return Ok(Duration::from_secs(DEFAULT_DURATION)) };
    let seconds = text.parse().ok().filter(|seconds| DURATIONS.contains(seconds));
    let seconds =
        seconds.ok_or_else(|| constraint("DurationSeconds", "Member must have value between 900 and 43200"))?;
    if caller.is_session && seconds > MAX_CHAINED_DURATION {
        return Err(validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    Ok(Duration::from_secs(seconds))
}

/// Returns the session policy, as text and parsed.
fn policy(form: &Form) -> Result<Option<(&str, Value)>, AwsError> {
    let Some(policy) = form.get("Policy") else { return Ok(None) };
    if !(1..=MAX_POLICY).contains(&policy.chars().count()) {
        return Err(constraint("Policy", "Member must have length between 1 and 2048"));
    }
    let Ok(parsed) = serde_json::from_str::<Map<String, Value>>(policy) else {
        return Err(AwsError::bad_request("MalformedPolicyDocument", "Syntax errors in policy."));
    };
    Ok(Some((policy, parsed.into())))
}

/// Returns the used share of the room for session policies and tags, in percent; `None` without both.
fn packed_policy_size(policy: Option<&str>, tags: &[Tag]) -> Result<Option<usize>, AwsError> {
    if policy.is_none() && tags.is_empty() {
        return Ok(None);
    }
    let percent = packed_size::percent(policy, tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())));
    if percent <= 100 {
        return Ok(Some(percent));
    }
    let what = if tags.is_empty() { "Packed policy" } else { "Packed size of session tags" };
    Err(AwsError::bad_request("PackedPolicyTooLarge", format!("{what} consumes {percent}% of allotted space.")))
}
