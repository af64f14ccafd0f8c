//! Trust policies that the roles of a profile need.

use serde_json::{Value, json};

use super::role::ChainedRole;
use super::session_tags::SessionTags;

/// The trust policy that a role needs, and the policy of the identity that assumes it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrustPolicy {
    /// The role, as the profile names it.
    pub role: String,
    /// What assumes it: `None`: the broker's own identity, else the role before it.
    pub assumed_by: Option<String>,
    /// The actions that the role's trust policy, and the policy of what assumes it, must allow.
    pub actions: Vec<&'static str>,
    /// The document.
    pub document: Value,
}

/// The placeholder of the broker's own identity.
const BROKER: &str = "BROKER-IDENTITY-ARN";
/// The placeholder of the external ID, which is not printed.
const EXTERNAL_ID: &str = "EXTERNAL-ID";

/// Returns the trust policy of each role of a chain.
pub(super) fn of_chain(role_chain: &[ChainedRole], tags: &SessionTags, source_identity: bool) -> Vec<TrustPolicy> {
    let last = role_chain.len().saturating_sub(1);
    let mut before = None;
    let mut policies = Vec::new();
    for (index, chained) in role_chain.iter().enumerate() {
        let mut actions = vec!["sts:AssumeRole"];
        if tags.need_tag_session(index, last) {
            actions.push("sts:TagSession");
        }
        // Later roles of a chain keep the source identity, and must allow it as the first does.
        if source_identity {
            actions.push("sts:SetSourceIdentity");
        }
        let principal = before.clone().unwrap_or_else(|| BROKER.to_owned());
        let statements = statements(&principal, &actions, chained.external_id.is_some());
        let role = chained.to_string();
        let document = json!({ "Version": "2012-10-17", "Statement": statements });
        policies.push(TrustPolicy { role: role.clone(), assumed_by: before.replace(role), actions, document });
    }
    policies
}

/// Returns the statements of a trust policy. AWS documents `sts:ExternalId` for `sts:AssumeRole` only, so the other actions, which give
/// nothing alone, do not depend on it.
fn statements(principal: &str, actions: &[&str], has_external_id: bool) -> Vec<Value> {
    let allow = |actions: &[&str]| json!({ "Effect": "Allow", "Principal": { "AWS": principal }, "Action": actions });
    if !has_external_id {
        return vec![allow(actions)];
    }
    let (assume, further) = actions.split_at(1);
    let mut assume = allow(assume);
    assume["Condition"] = json!({ "StringEquals": { "sts:ExternalId": EXTERNAL_ID } });
    let further = (!further.is_empty()).then(|| allow(further));
    std::iter::once(assume).chain(further).collect()
}
