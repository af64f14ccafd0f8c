//! Audit records and their format: one JSON object a line.

use std::num::NonZeroUsize;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

/// Bytes of a line with long names, so that it is allocated once.
const LINE: usize = 1024;

/// The record of one decision. Unknown facts are left out.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// Request ID, as in the log and in the caller's errors.
    pub request_id: String,
    /// Trace ID of the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Request ID at the broker that sent the request, if its caller is a broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_request_id: Option<String>,
    /// The caller.
    pub caller: String,
    /// The brokers that forwarded the caller, in the order of its way; the last one connected.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub via: Vec<String>,
    /// Proof of the caller's identity.
    pub proof: &'a str,
    /// The decision.
    pub outcome: Outcome,
    /// What was requested, if not credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'static str>,
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
    /// Fingerprint of the whole configuration in effect, as in the metric `ecr_broker_config_info`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub config: &'a str,
    /// ID of the credential; the secret cannot be derived from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
    /// The expiry of the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// The source that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    /// ARN of the role or user that minted the credential, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minted_by: Option<&'a str>,
    /// Request ID of the AWS call that returned the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_request_id: Option<&'a str>,
    /// Number of the request's items that received the credential, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<NonZeroUsize>,
}

/// A time in a record: RFC 3339 with milliseconds. It is formatted without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(self.0))
    }
}

/// The decision about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The caller received the credential.
    Released,
    /// The grants deny the request, but the caller received the credential: the policy is in observe mode.
    Observed,
    /// The caller was denied.
    Denied,
    /// The peer did not prove who it is.
    Unauthenticated,
}

/// The record of a failed authentication. Unknown facts are left out.
#[derive(Debug, Serialize)]
pub struct Unauthenticated<'a> {
    /// Request ID, unless the connection failed before a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Trace ID of the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// [`Outcome::Unauthenticated`].
    pub outcome: Outcome,
    /// Address, network or user that the connection comes from.
    pub origin: String,
    /// The child broker that forwarded a caller, by its client certificate, or none. It is a list as in [`Record`]: readers know one shape.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub via: Vec<String>,
    /// The proof that failed.
    pub proof: Proof,
    /// Why it failed.
    pub reason: &'a str,
}

/// A proof of identity that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The peer presented none that counts.
    None,
    /// A client certificate.
    Certificate,
    /// A bearer token.
    Token,
    /// What a child broker forwards of its caller.
    Forwarded,
    /// The secret of the ECR API.
    Secret,
}

/// One record about rejections that have no record each.
#[derive(Debug, Serialize)]
pub struct Count<'a> {
    /// What happened to all of them.
    pub outcome: Outcome,
    /// The caller of all of them; `None` for peers that proved nothing, and for the rest of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The group of the rest of its callers: `local`, `dns`, a trust domain, or `jwt:ISSUER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callers: Option<String>,
    /// The origin of all of them, if the caller is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The proof that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Why the proof failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// Their number.
    pub count: u64,
}

/// One line of the log: a record, its kind and its time.
#[derive(Serialize)]
struct Line<'a, R> {
    kind: &'static str,
    time: Time,
    #[serde(flatten)]
    record: &'a R,
}

/// Returns a record as one line of JSON, with the newline.
pub(super) fn line(record: &impl Serialize, time: SystemTime) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(LINE);
    serde_json::to_writer(&mut line, &Line { kind: "audit", time: Time(time), record })?;
    line.push(b'\n');
    Ok(line)
}
