//! Parameters of the calls that assume a role, with STS's checks.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::parameter::{constraint, required, validation};
use super::principal::Principal;
use super::query::Form;
use super::role::{Role, is_name};
use crate::aws_wire::AwsError;

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
    pub(super) packed_policy_size: Option<usize>,
    pub(super) source_identity: Option<String>,
}

impl AssumeRole {
    /// Parses and checks the parameters of a call by `caller`.
    pub(super) fn parse(form: &Form, caller: &Principal) -> Result<Self, AwsError> {
        Ok(Self {
            role: required(form, "RoleArn")?.parse()?,
            session_name: session_name(form)?,
            duration: duration(form, caller)?,
            packed_policy_size: packed_policy_size(form)?,
            source_identity: source_identity(form, caller)?,
        })
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

/// Returns the used share of the room for session policies, in percent; `None` without a policy.
fn packed_policy_size(form: &Form) -> Result<Option<usize>, AwsError> {
    let Some(policy) = form.get("Policy") else { return Ok(None) };
    let length = policy.chars().count();
    if !(1..=MAX_POLICY).contains(&length) {
        return Err(constraint("Policy", "Member must have length between 1 and 2048"));
    }
    if serde_json::from_str::<Map<String, Value>>(policy).is_err() {
        return Err(AwsError::bad_request("MalformedPolicyDocument", "Syntax errors in policy."));
    }
    Ok(Some((length * 100).div_ceil(MAX_POLICY)))
}
