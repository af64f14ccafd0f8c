//! Audit records and their format: one JSON object a line.

use std::time::SystemTime;

use serde::Serialize;

/// The record of one decision. Unknown facts are left out.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// Request ID, as in the log and in the caller's errors.
    pub request_id: String,
    /// Trace ID of the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The caller.
    pub caller: String,
    /// Proof of the caller's identity.
    pub proof: &'a str,
    /// The decision.
    pub outcome: Outcome,
    /// Account of the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Region of the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// Host of the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Alias by which the caller named the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<&'a str>,
    /// Profile of the credential, or the requested one.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub profile: &'a str,
    /// Session name of the profile's roles, as in CloudTrail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_session: Option<String>,
    /// The deciding grant; `None` if no grant allows the request, or none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<&'a str>,
    /// Fingerprint of the active policy.
    pub policy: &'a str,
    /// ID of the credential; the secret cannot be derived from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
    /// Request ID of the AWS call that returned the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_request_id: Option<&'a str>,
}

/// The decision about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The caller received the credential.
    Released,
    /// The grants deny the request, but the caller received the credential: the policy is in observe mode.
    Observed,
    /// The caller was denied.
    Denied,
}

/// One line of the log: the record, its kind and its time.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    time: String,
    #[serde(flatten)]
    record: &'a Record<'a>,
    /// Number of denials since the previous line that were counted only.
    #[serde(skip_serializing_if = "is_zero")]
    denials_before: u64,
}

impl Record<'_> {
    /// Returns the record as one line of JSON, with the newline.
    pub(super) fn line(&self, time: SystemTime, denials_before: u64) -> serde_json::Result<Vec<u8>> {
        let time = humantime::format_rfc3339_millis(time).to_string();
        let mut line = serde_json::to_vec(&Line { kind: "audit", time, record: self, denials_before })?;
        line.push(b'\n');
        Ok(line)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
