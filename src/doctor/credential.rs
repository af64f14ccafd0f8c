//! The broker's answer to the one question: whether it is granted, whether AWS gives it, and what it is.

use std::time::{Duration, SystemTime};

use super::report::{Finding, Outcome};
use super::settings::EffectiveSettings;
use super::time::{now, rfc3339, span};
use super::{grant, reason};
use crate::client::{CacheStatus, Failure, RegistryCredentials};
use crate::exit_code::Exit;
use crate::registry::Registry;

/// Reasons that come before anybody is asked whether it is granted, or instead of it.
const NOT_GRANTED: [&str; 6] = [
    "CALLER_NOT_ALLOWED",
    "PROFILE_UNKNOWN",
    "REGISTRY_INVALID",
    "REGISTRY_NOT_ECR",
    "REQUEST_INVALID",
    "CALLER_UNAUTHENTICATED",
];
/// Reasons that come after it.
const GRANTED: [&str; 2] = ["VALIDITY_UNSATISFIABLE", "AUDIT_UNAVAILABLE"];
/// Clocks that differ by less are not worth a word.
const CLOCKS_DIFFER: Duration = Duration::from_secs(10);

/// What was asked, and what came of it.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) answer: Result<RegistryCredentials, Failure>,
    pub(super) took: Duration,
    pub(super) registry: &'a str,
    pub(super) principal: &'a str,
    pub(super) effective: &'a EffectiveSettings,
}

impl Asked<'_> {
    /// Whether a grant lets the caller have it.
    pub(super) fn grant(&self) -> Outcome<()> {
        let reason = match &self.answer {
            Ok(credentials) => {
                let found = format!("{} may be had, with profile {}", credentials.registry, credentials.profile);
                return (Finding::ok(found), Some(()));
            }
            Err(failure) => failure.reason.as_deref().unwrap_or_default(),
        };
        if NOT_GRANTED.contains(&reason) {
            return (self.not_granted(reason), None);
        }
        if reason.starts_with("AWS_") || GRANTED.contains(&reason) {
            return (Finding::ok("it may be had"), Some(()));
        }
        (Finding::skip("not known: the broker did not come as far"), Some(()))
    }

    /// Whether AWS gives it to the broker, or whatever else stands between a grant and a credential.
    pub(super) fn aws(&self) -> Outcome<()> {
        match &self.answer {
            Ok(credentials) if credentials.cache_status() == CacheStatus::Stale => {
                let end = time(credentials.expire_time).map(rfc3339).unwrap_or_default();
                let found = "the broker holds a credential, but AWS gives it no newer one at the moment";
                let note = format!("nothing fails until {end}, when this one ends");
                let fix =
                    "have those who run the broker look at its log (\"the call to AWS failed\") and at its way to AWS";
                (Finding::ok(found).note(note).fix(fix), Some(()))
            }
            Ok(credentials) if credentials.cache_status() == CacheStatus::Hit => {
                (Finding::ok("not asked: the broker holds the credential"), Some(()))
            }
            Ok(_) => (
                self.with_time(Finding::ok(format!("gave a credential within {} ms", self.took.as_millis()))),
                Some(()),
            ),
            Err(failure) => {
                let registry = reason::registry(self.registry, failure);
                let finding = Finding::fail(Exit::from(failure), failure.to_string());
                (finding.fix(reason::fix(failure, registry.as_ref())), None)
            }
        }
    }

    /// What it is, how old it is, and whether the clocks agree.
    pub(super) fn token(&self) -> Outcome<RegistryCredentials> {
        match &self.answer {
            Ok(credentials) => (token(credentials, now()), Some(credentials.clone())),
            Err(_) => (Finding::skip("there is none"), None),
        }
    }

    /// Other commands may not wait as long as this one did.
    fn with_time(&self, finding: Finding) -> Finding {
        let usual = self.effective.usual_timeout;
        if self.took < usual {
            return finding;
        }
        let note = format!("other commands, and what docker and kubelet run, wait no longer than {}", span(usual));
        finding.note(note).fix("allow them more: ECR_BROKER_TIMEOUT, or timeout in client.toml")
    }

    fn not_granted(&self, reason: &str) -> Finding {
        let Err(failure) = &self.answer else { return Finding::skip("") };
        let finding = Finding::fail(Exit::from(failure), failure.to_string());
        let profile = &self.effective.profile;
        let origin = self.effective.origin("profile");
        match reason {
            "CALLER_NOT_ALLOWED" => self.not_allowed(finding),
            "PROFILE_UNKNOWN" => {
                finding.fix(format!("name one of those, or leave the profile out: {profile:?} comes from {origin}"))
            }
            "REGISTRY_INVALID" | "REGISTRY_NOT_ECR" => finding.fix(
                "name the registry as AWS does, such as 123456789012.dkr.ecr.eu-central-1.amazonaws.com or public.ecr.aws, or as the broker's [aliases] do; a pull from another registry does not need the broker",
            ),
            _ => finding.fix(reason::fix(failure, None)),
        }
    }

    /// A broker with grants does not say whether there is a profile of the name: to name one that there is not would break its configuration.
    fn not_allowed(&self, finding: Finding) -> Finding {
        let profile = &self.effective.profile;
        let origin = self.effective.origin("profile");
        let (finding, or) = if profile.is_empty() {
            (finding, "")
        } else {
            let other = format!("ask for another profile, or for none: {profile:?} comes from {origin}");
            (finding.fix(other), "or, if the broker has a profile of this name, ")
        };
        let registry: Option<Registry> = self.registry.parse().ok();
        let finding = match registry.as_ref().map(|registry| grant::block(self.principal, registry, profile)) {
            Some(Some(block)) => finding.fix(format!(
                "{or}have those who run the broker add this grant, unless there is one that denies it (effect = \"deny\"):\n{block}"
            )),
            Some(None) => finding.fix(format!("{or}have those who run the broker write a grant for you and this registry")),
            None => finding.fix(format!(
                "{or}have those who run the broker write a grant for you and the registry that its [aliases] have behind this name"
            )),
        };
        let explain = grant::explain(self.principal, self.registry, profile);
        finding.fix(format!("or have them ask which grant decides: {explain}"))
    }
}

fn token(credentials: &RegistryCredentials, now: SystemTime) -> Finding {
    let (Some(issued), Some(ends)) = (time(credentials.issue_time), time(credentials.expire_time)) else {
        return Finding::fail(Exit::Failure, "the broker does not say until when it is good")
            .fix("use a broker of this version");
    };
    let id = &credentials.credential_id;
    let clock = "set this machine's clock, or the broker's: have both ask a time server (timedatectl status shows whether they do)";
    if issued > now + CLOCKS_DIFFER {
        let ahead = issued.duration_since(now).unwrap_or_default();
        let found = format!("{id} was issued {} in the future, by this machine's clock", span(ahead));
        return Finding::fail(Exit::Failure, found).fix(clock);
    }
    if ends <= now {
        let found =
            format!("{id} ended at {}, by this machine's clock, and the broker takes it for good", rfc3339(ends));
        return Finding::fail(Exit::Failure, found).fix(clock);
    }
    let (age, left) = (now.duration_since(issued).unwrap_or_default(), ends.duration_since(now).unwrap_or_default());
    let status = credentials.cache_status().as_str_name().trim_start_matches("CACHE_STATUS_");
    let found = format!("{id}, {} old, good for another {}, until {} ({status})", span(age), span(left), rfc3339(ends));
    Finding::ok(found)
}

fn time(timestamp: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    timestamp?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::time::at;
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_from_a_token_that_is_good() {
        let timestamp = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let credentials = RegistryCredentials {
            password: "s3cret".into(),
            credential_id: "5d49".into(),
            issue_time: timestamp(1_000_000),
            expire_time: timestamp(1_043_200),
            ..RegistryCredentials::default()
        };
        for (now, told) in [
            (1_000_060, "5d49, 1m old, good for another 11h 59m"),
            (999_995, "5d49, 0s old"),
            (999_000, "in the future, by this machine's clock"),
            (1_043_200, "ended at 1970-01-13T01:46:40Z, by this machine's clock"),
        ] {
            let told_of = format!("{:?}", token(&credentials, at(now).unwrap()));
            assert!(told_of.contains(told) && !told_of.contains("s3cret"), "{told}: {told_of}");
        }
    }
}
