//! The answer of `audit who`, before it is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::audit::index::{IndexedLogs, Leak, Reaches, Session};
use crate::config::Config;
use crate::credential::{CredentialId, LeakedPassword};

/// A credential whose password was on stdin.
pub(super) struct FoundCredential {
    pub(super) leaked: LeakedPassword,
    pub(super) leak: Leak,
    /// Whether a profile of it names the source identity of its sessions, in the configuration.
    pub(super) has_source_identity: bool,
    pub(super) reaches: BTreeMap<Session, Reaches>,
}

/// The answer, before it is printed.
pub(super) struct Answer {
    pub(super) at: SystemTime,
    pub(super) logs: IndexedLogs,
    pub(super) found: Vec<FoundCredential>,
    /// The expiry that a text on stdin states, if none of them is a credential of the logs.
    pub(super) stated_expiry: Option<SystemTime>,
}

impl Answer {
    /// Looks up what was on stdin.
    pub(super) fn new(
        leaked: Vec<LeakedPassword>,
        logs: IndexedLogs,
        config: &Config,
        at: SystemTime,
    ) -> anyhow::Result<Self> {
        let leaks = logs.find(&leaked.iter().map(LeakedPassword::id).collect())?;
        let stated_expiry = leaked.iter().find_map(LeakedPassword::stated_expiry).filter(|_| leaks.is_empty());
        let sessions: BTreeSet<_> = leaks.values().flat_map(|leak| leak.sessions.iter().cloned()).collect();
        let reaches = logs.reach(&sessions.into_iter().filter(Session::is_named).collect(), at)?;
        let found = with_passwords(leaked, leaks);
        let found = found.map(|(leaked, leak)| FoundCredential {
            leaked,
            has_source_identity: has_source_identity(config, &leak),
            reaches: leak.sessions.iter().filter_map(|one| Some((one.clone(), reaches.get(one)?.clone()))).collect(),
            leak,
        });
        Ok(Self { at, found: found.collect(), stated_expiry, logs })
    }
}

fn with_passwords(
    leaked: Vec<LeakedPassword>,
    mut leaks: BTreeMap<CredentialId, Leak>,
) -> impl Iterator<Item = (LeakedPassword, Leak)> {
    leaked.into_iter().filter_map(move |leaked| leaks.remove(&leaked.id()).map(|leak| (leaked, leak)))
}

fn has_source_identity(config: &Config, leak: &Leak) -> bool {
    let names: BTreeSet<_> = leak.holders.keys().map(|holder| holder.profile.as_str()).collect();
    config.profiles().iter().any(|profile| profile.source_identity && names.contains(profile.name.as_str()))
}
