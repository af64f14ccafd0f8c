//! Records as a reader of the log sees them. Older brokers wrote fewer fields, so all but the kind may be missing.

use std::borrow::Cow;

use serde::Deserialize;

/// A record of the log. Texts that a record lacks are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StoredRecord {
    /// `audit`; other lines of a shared stream have another kind, or none.
    pub(super) kind: String,
    /// When the record was written: RFC 3339 in UTC, which sorts as text.
    pub time: String,
    /// The decision.
    pub outcome: String,
    /// The caller; empty if it is unknown.
    pub caller: String,
    /// The brokers that forwarded the caller.
    pub via: Vec<String>,
    /// Number of the requests that the record is about, if there are several.
    pub count: Option<u64>,
    /// What was requested, if not credentials.
    pub operation: Option<String>,
    /// Account that the request named.
    pub account_id: Option<String>,
    /// Region that the request named.
    pub region: Option<String>,
    /// Host of the registry.
    pub registry: Option<String>,
    /// Alias by which the caller named the registry.
    pub alias: Option<String>,
    /// Profile of the credential, or the requested one.
    pub profile: String,
    /// Session name of the profile's roles.
    pub role_session: Option<String>,
    /// The grant that decided.
    pub grant: Option<String>,
    /// ID of the credential.
    pub credential_id: Option<String>,
    /// Expiry of the credential.
    pub expires: Option<String>,
    /// The source that answered.
    pub source: Option<String>,
    /// ARN of the role or user that minted the credential.
    pub minted_by: Option<String>,
}

impl StoredRecord {
    /// Returns the caller's whole name, with the brokers that forwarded it.
    #[must_use]
    pub fn caller_name(&self) -> Cow<'_, str> {
        if self.via.is_empty() {
            return (&*self.caller).into();
        }
        format!("via {} {}", self.via.join(","), self.caller).into()
    }

    /// Returns whether the caller received a credential.
    #[must_use]
    pub fn is_release(&self) -> bool {
        self.operation.is_none() && matches!(self.outcome.as_str(), "released" | "observed")
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Outcome, Proof, Unauthenticated};
    use super::*;

    #[test]
    fn record_of_a_refused_forwarded_caller_can_be_read() {
        let written = Unauthenticated {
            request_id: Some("id".into()),
            trace_id: None,
            outcome: Outcome::Unauthenticated,
            origin: "192.0.2.1".into(),
            via: vec!["spiffe://a.example/node/n1".into()],
            proof: Proof::Forwarded,
            reason: "expired",
        };
        let read: StoredRecord = serde_json::from_str(&serde_json::to_string(&written).unwrap()).unwrap();
        assert_eq!((read.outcome.as_str(), read.via), ("unauthenticated", written.via));
    }
}
