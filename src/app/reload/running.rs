//! The running broker: which configuration can follow the active one, and how it takes effect.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::config_info::ConfigInfo;
use crate::authn::jwt::{Issuers, LoadedIssuers};
use crate::broker::{Broker, Reloaded};
use crate::config::{Config, Diagnostic, Files, Sources, restart_settings};
use crate::credential::ProfileName;
use crate::follow_file::FilesInEffect;
use crate::policy::{Effect, Grant, Policy};
use crate::profile::Profile;
use crate::registry::Registry;
use crate::service_manager::ServiceManager;
use crate::source::aws::NO_REGION;
use crate::source::broker::profiles_of;
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
    /// The profiles that only parents know.
    parent_profiles: Vec<ProfileName>,
    needs_aws: bool,
    /// Whether new credentials may be tried at their registries.
    verifies: bool,
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
        Self {
            sources,
            parent_profiles: profiles_of(&config.parents).collect(),
            needs_aws: config.needs_aws(),
            verifies: !config.aws.verified_keys().is_empty(),
        }
    }
}

impl Running {
    /// Returns why the running broker cannot go from its active configuration to another valid one.
    pub(super) fn problems_of(&self, config: &Config, active: &Config, files: &Files) -> Vec<Diagnostic> {
        let mut problems = self.problems_of_policy(config, files);
        for grant in self.new_allows_of_new_parents(config, active) {
            let place = config.grant_files.get(&grant.id).cloned().unwrap_or_else(|| files.name());
            let problem =
                format!("grant {:?}: its profile belongs to a new parent; restart the broker to apply it", grant.id);
            problems.push(Diagnostic { place, problem });
        }
        if config.aws.profiles != active.aws.profiles {
            problems.extend(self.problem_of_profiles(config));
        }
        if config.server.issuers != active.server.issuers {
            problems.extend(self.load_issuers(config).err());
        }
        problems
    }

    fn problems_of_policy(&self, config: &Config, files: &Files) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        let mut report = |problem: &str| problems.push(Diagnostic { place: files.name(), problem: problem.to_owned() });
        if config.policy == Policy::Open && !self.broker.is_open() {
            report(
                "the configuration no longer has grants; restart the broker to open it to every caller, or set grants = [] to close it",
            );
        }
        if config.policy.is_observed() && !self.broker.is_observing() {
            report(
                "policy.mode: \"observe\" allows every authenticated caller everything; restart the broker to apply it",
            );
        }
        problems
    }

    /// Returns why the running broker cannot mint by the profiles.
    fn problem_of_profiles(&self, config: &Config) -> Option<Diagnostic> {
        if config.needs_aws() && !self.started.needs_aws {
            let problem = "the broker started without AWS, for parents serve everything; restart it to apply profiles";
            return Some(Diagnostic { place: "profiles".to_owned(), problem: problem.to_owned() });
        }
        let lacks_region = config.aws.needs_region && self.broker.region().is_none();
        lacks_region.then(|| Diagnostic { place: "aws.region".to_owned(), problem: NO_REGION.to_owned() })
    }

    /// Returns the allows that are not active and that name a profile which only a new parent has. A denial is never held up.
    fn new_allows_of_new_parents<'a>(
        &'a self,
        config: &'a Config,
        active: &'a Config,
    ) -> impl Iterator<Item = &'a Grant> {
        let is_known = |name: &ProfileName| {
            let is_own = config.aws.profiles.iter().any(|profile| profile.name == *name);
            is_own || *name == ProfileName::default_profile() || self.started.parent_profiles.contains(name)
        };
        let allows = config.policy.grants().iter().filter(|grant| grant.effect != Effect::Deny);
        let beyond = allows.filter(move |grant| grant.profile.as_ref().is_some_and(|name| !is_known(name)));
        beyond.filter(|grant| !active.policy.grants().contains(grant))
    }

    /// Loads the keys of the issuers; those that have not changed keep theirs. `None`: there are none, and there were none.
    pub(super) fn load_issuers(&self, config: &Config) -> Result<Option<LoadedIssuers>, Diagnostic> {
        let at = |problem| Diagnostic { place: "[[authentication.jwt]]".to_owned(), problem };
        let settings = config.server.issuers.clone();
        match &self.issuers {
            Some(issuers) => issuers.prepare(settings).map(Some).map_err(|error| at(error.to_string())),
            None if settings.is_empty() => Ok(None),
            None => {
                let problem =
                    "the broker started without issuers, and its listeners accept no bearer tokens; restart it";
                Err(at(problem.to_owned()))
            }
        }
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
        let of_parents = self.started.parent_profiles.iter().filter(|name| own.iter().all(|one| one.name != **name));
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
        if !self.started.verifies && config.aws.profiles.iter().any(|profile| profile.verify == Some(true)) {
            names.push("profiles.verify".to_owned());
        }
        names
    }
}
