//! Step `token`: the credential's age and expiry, by this machine's clock.

use std::time::{Duration, SystemTime};

use super::super::finding::{Finding, StepResult};
use super::super::problem::Problem;
use super::super::time_text::{duration, now, rfc3339};
use super::CredentialAnswer;
use crate::client::{RegistryCredentials, remaining};

/// Smaller clock differences harm nothing.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);
const SET_CLOCK: &str =
    "set this machine's clock or the broker's: let both ask a time server (check: timedatectl status)";

impl CredentialAnswer<'_> {
    pub(in crate::doctor) fn token(&self) -> StepResult<RegistryCredentials> {
        match &self.answer {
            Ok(credentials) => (check(credentials, now()), Some(credentials.clone())),
            Err(_) => (Finding::skip("there is no credential"), None),
        }
    }
}

fn check(credentials: &RegistryCredentials, now: SystemTime) -> Finding {
    let time = |timestamp: Option<prost_types::Timestamp>| SystemTime::try_from(timestamp?).ok();
    let (Some(issued), Some(expires)) = (time(credentials.issue_time), time(credentials.expire_time)) else {
        return Finding::fail(Problem::NoExpiryTime, "").fix("use a broker of this version");
    };
    let id = &credentials.credential_id;
    if issued > now + CLOCK_TOLERANCE {
        let ahead = duration(issued.duration_since(now).unwrap_or_default());
        let facts = format!("{id}, {ahead} ahead of this machine's clock");
        return Finding::fail(Problem::IssuedInFuture, facts).fix(SET_CLOCK);
    }
    if expires <= now {
        let expires = rfc3339(expires);
        let facts = format!("{id} at {expires} by this machine's clock, but not by the broker's");
        return Finding::fail(Problem::CredentialExpired, facts).fix(SET_CLOCK);
    }
    let age = duration(now.duration_since(issued).unwrap_or_default());
    let left = duration(remaining(credentials, now));
    let status = credentials.cache_status().as_str_name().trim_start_matches("CACHE_STATUS_");
    Finding::ok(format!("{id}: {age} old, valid for another {left}, until {} ({status})", rfc3339(expires)))
}

#[cfg(test)]
mod tests {
    use super::super::super::time_text::from_unix;
    use super::*;

    #[test]
    fn wrong_clock_is_not_taken_for_a_valid_credential() {
        let timestamp = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let credentials = RegistryCredentials {
            password: "s3cret".into(),
            credential_id: "5d49".into(),
            issue_time: timestamp(1_000_000),
            expire_time: timestamp(1_043_200),
            ..RegistryCredentials::default()
        };
        for (now, expected) in [
            (1_000_060, "5d49: 1m old, valid for another 11h 59m"),
            (999_995, "5d49: 0s old"),
            (999_000, "credential was issued in the future: 5d49, 16m ahead of this machine's clock"),
            (1_043_200, "credential has expired: 5d49 at 1970-01-13T01:46:40Z by this machine's clock"),
        ] {
            let text = format!("{:?}", check(&credentials, from_unix(now).unwrap()));
            assert!(text.contains(expected) && !text.contains("s3cret"), "{expected}: {text}");
        }
    }
}
