//! Step `AWS`: whether AWS issues the credential to the broker.

use std::time::SystemTime;

use super::super::finding::{Finding, StepResult};
use super::super::time_text::{duration, rfc3339};
use super::super::{known_registry, reason};
use super::CredentialAnswer;
use crate::client::{CacheStatus, RegistryCredentials};
use crate::quoted::Quoted;

impl CredentialAnswer<'_> {
    /// Covers every failure after the grant, from the audit log to AWS.
    pub(in crate::doctor) fn aws(&self) -> StepResult<()> {
        match &self.answer {
            Ok(credentials) if credentials.cache_status() == CacheStatus::Stale => (stale(credentials), Some(())),
            Ok(credentials) if credentials.cache_status() == CacheStatus::Hit => {
                (Finding::ok("not called: the broker has the credential in its cache"), Some(()))
            }
            Ok(credentials) => (self.fetched(credentials), Some(())),
            Err(failure) => {
                let registry = known_registry::of_failure(self.registry, failure);
                (Finding::failed_call(failure).fix(reason::fix(failure, registry.as_ref())), None)
            }
        }
    }

    fn fetched(&self, credentials: &RegistryCredentials) -> Finding {
        let took = self.took.as_millis();
        let finding = match credentials.source.strip_prefix("parent:") {
            Some(parent) => format!("the parent broker {} returned a credential in {took} ms", Quoted(parent)),
            None => format!("issued a credential in {took} ms"),
        };
        let finding = Finding::ok(finding);
        let limit = self.effective.command_timeout;
        if self.took < limit {
            return finding;
        }
        let note = format!("this is too slow for other commands, docker and kubelet, which wait {}", duration(limit));
        finding.note(note).fix("raise their time limit: ECR_BROKER_TIMEOUT, or timeout in client.toml")
    }
}

fn stale(credentials: &RegistryCredentials) -> Finding {
    let end = credentials.expire_time.and_then(|time| SystemTime::try_from(time).ok()).map(rfc3339);
    Finding::ok("the broker has a credential in its cache, but AWS does not issue a newer one now")
        .note(format!("pulls work until {}, when the cached credential expires", end.unwrap_or_default()))
        .fix("ask the operator to check the broker's log for failed AWS calls, and its route to AWS")
}
