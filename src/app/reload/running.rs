//! The running broker: which configuration can follow the active one, and how it takes effect.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::config_info::ConfigInfo;
use crate::authn::jwt::{Issuers, LoadedIssuers};
use crate::broker::{Broker, Reloaded};
use crate::config::restart::{self, StartFacts};
use crate::config::{Config, Diagnostic, Files, Sources, restart_settings};
use crate::follow_file::FilesInEffect;
use crate::profile::Profile;
use crate::registry::Registry;
use crate::service_manager::ServiceManager;
use crate::status::Reloads;

/// The running broker, and what it started with.
#[derive(Debug, Clone)]
pub(in crate::app) struct Running {
    pub(in crate::app) broker: Arc<Broker>,
    /// The accepted issuers; `None`: the listeners were opened without bearer tokens.
    pub(in crate::app) issuers: Option<Arc<Issuers>>,
    /// The registries that are kept warm.
    pub(in crate::app) keep_warm: watch::Sender<Vec<Registry>>,
    /// The configuration that the broker started with.
    pub(in crate::app) started: Arc<Started>,
    pub(in crate::app) in_effect: FilesInEffect,
    pub(in crate::app) reloads: Reloads,
    pub(in crate::app) config_info: ConfigInfo,
    pub(in crate::app) manager: ServiceManager,
}

/// What a broker keeps from its start to its end.
#[derive(Debug)]
pub(in crate::app) struct Started {
    sources: Sources,
    facts: StartFacts,
}

/// What a reload did.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) policy: String,
    pub(super) config_hash: String,
    /// Names of profiles that are new, changed or removed.
    pub(super) changed_profiles: Vec<String>,
    pub(super) dropped: usize,
}

impl Started {
    pub(in crate::app) fn new(config: &Config, sources: Sources) -> Self {
        Self { sources, facts: StartFacts::of(config) }
    }
}

impl Running {
    /// Returns why the running broker cannot go from its active configuration to another valid one.
    pub(super) fn problems_of(&self, config: &Config, active: &Config, files: &Files) -> Vec<Diagnostic> {
        let running = restart::Running {
            start: &self.started.facts,
            is_open: self.broker.is_open(),
            is_observing: self.broker.is_observing(),
            has_region: self.broker.region().is_some(),
        };
        let refusals = running.refusals(active, config, &files.name()).into_iter();
        let mut problems: Vec<_> = refusals.map(|refusal| refusal.diagnostic).collect();
        if self.issuers.is_some() && config.server.issuers != active.server.issuers {
            problems.extend(self.load_issuers(config).err());
        }
        problems
    }

    /// Loads the keys of the issuers; those that have not changed keep theirs. `None`: the broker started without issuers.
    pub(super) fn load_issuers(&self, config: &Config) -> Result<Option<LoadedIssuers>, Diagnostic> {
        let at = |problem| Diagnostic { place: "[[authentication.jwt]]".to_owned(), problem };
        let load = |issuers: &Arc<Issuers>| issuers.prepare(config.server.issuers.clone());
        self.issuers.as_ref().map(load).transpose().map_err(|error| at(error.to_string()))
    }

    /// Puts a configuration into effect, all or nothing: nothing here can fail.
    pub(super) async fn apply(&self, sources: &Sources, config: Config, issuers: Option<LoadedIssuers>) -> Applied {
        let config_hash = self.config_info.update(sources);
        let profiles = self.profiles(&config);
        let changed_profiles = self.changed(&profiles);
        let Config { policy, aliases, keep_warm, .. } = config;
        let to_warm = keep_warm.clone();
        let reloaded = Reloaded { policy, profiles, aliases, issuers, keep_warm, config: config_hash.clone() };
        let (policy, dropped) = self.broker.reload(reloaded).await;
        self.keep_warm.send_if_modified(|active| {
            let is_changed = *active != to_warm;
            *active = to_warm;
            is_changed
        });
        Applied { policy, config_hash, changed_profiles, dropped }
    }

    /// Returns the configured profiles, and those that only the parents of the running broker know.
    fn profiles(&self, config: &Config) -> Vec<Profile> {
        let own = &config.aws.profiles;
        let of_parents =
            self.started.facts.parent_profiles.iter().filter(|name| own.iter().all(|one| one.name != **name));
        own.iter().cloned().chain(of_parents.cloned().map(Profile::of_parent)).collect()
    }

    /// Returns the names of profiles that are new, changed or removed.
    fn changed(&self, profiles: &[Profile]) -> Vec<String> {
        let active = self.broker.profiles();
        let changed = profiles.iter().filter(|profile| active.find(&profile.name) != Some(*profile));
        let removed = active.iter().filter(|old| profiles.iter().all(|profile| profile.name != old.name));
        let names: BTreeSet<_> = changed.chain(removed).map(|profile| profile.name.to_string()).collect();
        names.into_iter().collect()
    }

    /// Returns the settings that differ from those of the start and take effect at the next one.
    pub(super) fn needs_restart(&self, sources: &Sources, config: &Config) -> Vec<String> {
        let mut names = restart_settings(&self.started.sources, sources);
        if self.started.facts.unverified(config).next().is_some() {
            names.push("profiles.verify".to_owned());
        }
        names
    }
}
