//! Records of the report: one request each, as a line of JSON.

use serde::{Deserialize, Serialize};

use crate::client::Failure;
use crate::client::adoption::{FallbackCause, Mode, Protocol};
use crate::environment::{self, OBSERVATION};

/// Longest text of a record. Principals and registries are shorter.
const MAX_TEXT: usize = 512;
/// Longest reason of a broker (AIP-193).
const MAX_REASON: usize = 63;
/// The reason of a fallback that could not be run.
pub const NOT_RUN: &str = "NOT_RUN";

/// What answered a request, and how long that took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Milliseconds until the answer.
    pub ms: u64,
    /// Why the answer lacks credentials; `None` if it has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a helper knows of its request when it has answered. It travels in a variable to the process that completes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The mode of this host.
    pub mode: Mode,
    /// The broker's answer; none if the broker was not asked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<Answer>,
    /// The fallback's answer; none if it did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Answer>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Time of the record, RFC 3339.
    pub time: String,
    /// The protocol of the tool.
    pub protocol: Protocol,
    /// Host of the registry.
    pub registry: String,
    /// Requested profile.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// The caller as the broker named it; only after a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The answers.
    #[serde(flatten)]
    pub observation: Observation,
}

impl Observation {
    /// Returns the observation that this process completes; none if it is a helper.
    #[must_use]
    pub fn of_environment() -> Option<Self> {
        serde_json::from_str(environment::variable(OBSERVATION)?.to_str()?).ok()
    }
}

impl Record {
    /// Returns the record as one line. Texts of the broker are cut to a length that none of its callers reaches.
    #[must_use]
    pub fn line(mut self) -> String {
        for text in [&mut self.registry, &mut self.profile].into_iter().chain(&mut self.caller) {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
        }
        serde_json::to_string(&self).unwrap_or_default() + "\n"
    }
}

/// Returns the reason of a failure: the broker's, or the kind of the failure. Messages are left out, because they quote what failed.
#[must_use]
pub fn reason_of(failure: &Failure) -> String {
    let is_reason = |reason: &&str| {
        reason.len() <= MAX_REASON && reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    match failure.reason.as_deref() {
        Some(reason) => Some(reason).filter(is_reason).unwrap_or("UNKNOWN").to_owned(),
        None => match FallbackCause::of(failure) {
            Some(FallbackCause::Timeout) => "TIMEOUT".to_owned(),
            Some(FallbackCause::NoBroker) => "NO_BROKER".to_owned(),
            _ => format!("{:?}", failure.code),
        },
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn record_is_one_bounded_line_that_reads_back() {
        let record = Record {
            time: "2026-12-01T00:00:00Z".to_owned(),
            protocol: Protocol::Kubelet,
            registry: "public.ecr.aws".to_owned(),
            profile: String::new(),
            caller: Some("é\n".repeat(10_000)),
            observation: Observation {
                mode: Mode::Shadow,
                broker: Some(Answer { ms: 7, reason: Some("CALLER_NOT_ALLOWED".to_owned()) }),
                fallback: Some(Answer { ms: 450, reason: None }),
            },
        };
        let line = record.clone().line();
        assert!(line.len() < 1_000 && line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
        let read: Record = serde_json::from_str(&line).unwrap();
        assert_eq!(read.observation, record.observation);
        assert_eq!((read.protocol, read.registry.as_str()), (Protocol::Kubelet, "public.ecr.aws"));
    }

    #[test]
    fn reason_is_the_brokers_or_the_kind_of_the_failure() {
        let failure = |code, reason: Option<&str>| Failure {
            code,
            reason: reason.map(str::to_owned),
            ..Failure::local("/home/user/token: s3cret".to_owned())
        };
        for (code, reason, expected) in [
            (Code::PermissionDenied, Some("CALLER_NOT_ALLOWED"), "CALLER_NOT_ALLOWED"),
            (Code::PermissionDenied, Some("\u{1b}[2J"), "UNKNOWN"),
            (Code::Unavailable, None, "NO_BROKER"),
            (Code::DeadlineExceeded, None, "TIMEOUT"),
            (Code::PermissionDenied, None, "PermissionDenied"),
        ] {
            assert_eq!(reason_of(&failure(code, reason)), expected);
        }
    }
}
