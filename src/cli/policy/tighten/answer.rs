//! What the logs tell, and the proposal for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::cloudtrail::Event;
use crate::audit::StoredRecord;
use crate::audit::reader::Extent;
use crate::config::Config;
use crate::policy::tighten::{Proposal, Replay, SessionUse, Usage, propose};

/// Maximum number of sessions in the audit log, for the memory of the reader.
pub(super) const MAX_SESSIONS: usize = 200_000;

/// What the logs tell.
#[derive(Debug, Default)]
pub(super) struct Used {
    pub(super) usage: Usage,
    /// The use of each session, by its role and its name.
    pub(super) sessions: BTreeMap<(String, String), BTreeSet<SessionUse>>,
    /// Releases without a grant of the configuration, by the grant of the record.
    pub(super) unknown_grants: BTreeMap<String, u64>,
    pub(super) events: Events,
}

/// Numbers of the events of CloudTrail.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) files: usize,
    /// Calls of the sessions that the audit log has.
    pub(super) matched: u64,
    /// Calls to ECR of other sessions and programs.
    pub(super) other_sessions: u64,
    /// Calls that AWS refused.
    pub(super) failed: u64,
}

/// The answer, before it is printed.
pub(super) struct Answer<'a> {
    pub(super) config: &'a Config,
    pub(super) read: Extent,
    pub(super) used: Used,
    pub(super) proposal: Proposal,
    pub(super) replay: Replay,
    /// A proposal of the first four fifths of the time, replayed with the rest; `None`: the time is too short.
    pub(super) back_test: Option<(u64, Replay)>,
}

impl Used {
    /// Adds a record of a release.
    pub(super) fn add(&mut self, record: &StoredRecord, config: &Config) -> Result<(), &'static str> {
        let hour = hour_of(&record.time).ok_or("has no valid time")?;
        if !record.is_release() {
            return Ok(());
        }
        let count = record.count.unwrap_or(1);
        let grant = record.grant.clone().unwrap_or_default();
        if !config.policy.grants().iter().any(|one| one.id == grant) {
            *self.unknown_grants.entry(grant).or_default() += count;
            return Ok(());
        }
        let registry = record.registry.as_deref().ok_or("has no registry")?;
        let registry = registry.parse().map_err(|_| "has no valid registry")?;
        self.usage.add_release(&grant, registry, hour, count);
        self.add_session(record, grant);
        Ok(())
    }

    fn add_session(&mut self, record: &StoredRecord, grant: String) {
        let Some(minted_by) = record.minted_by.clone() else { return };
        let key = (minted_by, record.role_session.clone().unwrap_or_default());
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&key) {
            return;
        }
        let uses = self.sessions.entry(key).or_default();
        let known = uses.iter().find(|one| one.profile == record.profile).cloned();
        let mut session =
            known.unwrap_or_else(|| SessionUse { profile: record.profile.clone(), grants: BTreeSet::new() });
        if session.grants.contains(&grant) {
            return;
        }
        uses.remove(&session);
        session.grants.insert(grant);
        uses.insert(session);
    }

    /// Adds a call to ECR.
    pub(super) fn add_event(&mut self, event: &Event) {
        let Some(hour) = hour_of(&event.time) else { return self.events.failed += 1 };
        let issuer = event.issuer().unwrap_or_default();
        let mut names = event.session_names().chain(std::iter::once(""));
        let Some(uses) = names.find_map(|name| self.sessions.get(&(issuer.to_owned(), name.to_owned()))) else {
            return self.events.other_sessions += 1;
        };
        if event.error_code.is_some() {
            return self.events.failed += 1;
        }
        self.events.matched += 1;
        // A request for a token names no repository.
        if let Some(repository) = event.repository() {
            for session in uses {
                self.usage.add_call(session, &event.name, repository, hour);
            }
        }
    }
}

impl<'a> Answer<'a> {
    /// Makes the proposal, and replays the use.
    pub(super) fn new(config: &'a Config, read: Extent, used: Used) -> Self {
        let profiles = config.profiles();
        let proposal = propose(&config.policy, &profiles, &used.usage, None);
        let replay = proposal.replay(&used.usage, None);
        let back_test = used.usage.split_hour().map(|split| {
            let earlier = propose(&config.policy, &profiles, &used.usage, Some(split));
            (split, earlier.replay(&used.usage, Some(split)))
        });
        Self { config, read, used, proposal, replay, back_test }
    }
}

fn hour_of(time: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(time).ok()?;
    Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs() / 3_600)
}
