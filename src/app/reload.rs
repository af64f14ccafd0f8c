//! Reloads grants while the broker runs: on SIGHUP, and when the configuration's files have changed.
//!
//! Other settings take effect at the next start. A file with a mistake keeps its last valid contents, and so does one that keeps
//! changing; all others take effect, so that a team's file cannot hold up the removal of a grant elsewhere.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use tokio::signal::unix::Signal;
use tracing::info;

use self::independent::{Combined, Problem, combine};
use self::problem_log::ProblemLog;
use crate::authn::jwt;
use crate::broker::Broker;
use crate::config::{Config, Diagnostic, Disk, Files, Settled, Sources};
use crate::credential::ProfileName;
use crate::follow_file::{FileFollower, FilesInEffect, Found, Hangups};
use crate::policy::{CallerPattern, Effect, Grant, Policy, TokenPattern};
use crate::profile::Profile;
use crate::service_manager::ServiceManager;
use crate::status::Reloads;
use crate::supervise;
use crate::sync::lock;

mod config_info;
mod independent;
mod problem_log;

pub(super) use self::config_info::ConfigInfo;

/// What this follows, in logs and health.
const FILES: &str = "configuration";

/// The running broker, by which new grants are checked.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) broker: Arc<Broker>,
    /// The issuers that the broker started with.
    pub(super) issuers: Vec<jwt::Settings>,
    pub(super) in_effect: FilesInEffect,
    pub(super) reloads: Reloads,
    pub(super) config_info: ConfigInfo,
    pub(super) manager: ServiceManager,
}

/// Follows the files for as long as it is polled.
pub(super) async fn follow_files(running: Running, sources: Sources, hangup: Signal) {
    let hangups = Hangups::new(hangup);
    let active = Arc::new(Mutex::new(sources));
    let start = || follow(running.clone(), Arc::clone(&active), hangups.receiver());
    supervise::run("grant reload", start).await;
}

/// Keeps `active`, the files in effect, for the next start of this task.
async fn follow(running: Running, active: Arc<Mutex<Sources>>, hangup: Option<Signal>) {
    let disk = Arc::new(Mutex::new(Disk::of(&lock(&active).files)));
    let contents = lock(&disk).clone();
    let mut follower = FileFollower::new(FILES, contents, reader(&disk)).on_hangup(hangup);
    let mut settled = Settled::default();
    let mut log = ProblemLog::default();
    loop {
        let requested = follower.due().await;
        let mut reloading = requested.then(|| running.manager.reloading());
        // Files that have settled do not wait for others.
        let read = match follower.check(requested).await {
            Found::Settled { contents, .. } | Found::Unsettled(contents) => contents,
            Found::Unreadable(never) => match never {},
        };
        let is_due = log.is_due() || requested;
        let newest = read.settled();
        if is_due || newest != settled {
            let mut sources = lock(&active).clone();
            // The first looks change nothing, and a problem that stays is reloaded once.
            if newest != settled && sources.files.differ_from(&read) {
                reloading.get_or_insert_with(|| running.manager.reloading());
            }
            settled = newest;
            let problems = running.reload(&mut sources, &read, requested || log.has_problems());
            lock(&disk).activate(&sources.files);
            let changed = std::mem::replace(&mut *lock(&active), sources.clone()).files != sources.files;
            running.in_effect.report(FILES, problems.is_empty());
            // A problem that stays is one failed reload, however often it is looked at.
            if requested || changed || log.would_change(&problems) {
                running.reloads.record(problems.is_empty());
            }
            log.update(problems, is_due);
        }
    }
}

/// Returns a function that reads the files again. Each reading needs the one before: see [`Disk`].
fn reader(disk: &Arc<Mutex<Disk>>) -> impl Fn() -> Result<Disk, Infallible> + Send + Sync + 'static {
    let disk = Arc::clone(disk);
    move || {
        let mut disk = lock(&disk);
        *disk = disk.read_again();
        Ok(disk.clone())
    }
}

impl Running {
    /// Activates the grants of the valid files, which `sources` then has, and returns the problems of the others. `announce` asks for
    /// a log line even if nothing changed.
    fn reload(&self, sources: &mut Sources, disk: &Disk, announce: bool) -> Vec<Problem> {
        let Combined { config, files, problems } =
            combine(sources, disk, |config, active, files| self.problems_of(config, active, files));
        if files != sources.files || announce && problems.is_empty() {
            sources.files = files;
            let (mode, grants) = (config.policy.mode(), config.policy.grants().len());
            let (included_files, config_hash) = (sources.files.included(), self.config_info.update(sources));
            let policy = self.broker.set_policy(config.policy);
            info!(mode, grants, included_files, policy, config_hash, "grants reloaded; other settings need a restart");
        }
        problems
    }

    /// Returns why the running broker cannot go from its active configuration to another valid one.
    fn problems_of(&self, config: &Config, active: &Config, files: &Files) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        let mut report =
            |place: String, problem: &str| problems.push(Diagnostic { place, problem: problem.to_owned() });
        if config.policy == Policy::Open && !self.broker.is_open() {
            report(
                files.name(),
                "the configuration no longer has grants; restart the broker to open it to every caller, or set grants = [] to close it",
            );
        }
        if config.policy.is_observed() && !self.broker.is_observing() {
            report(
                files.name(),
                "policy.mode: \"observe\" allows every authenticated caller everything; restart the broker to apply it",
            );
        }
        let known = Known { profiles: self.broker.profiles(), issuers: &self.issuers };
        for grant in known.new_allows_beyond(config, active) {
            let place = config.grant_files.get(&grant.id).cloned().unwrap_or_else(|| files.name());
            let problem = format!(
                "grant {:?}: its profile or issuer is new or has changed; restart the broker to apply it",
                grant.id
            );
            report(place, &problem);
        }
        problems
    }
}

/// The profiles and issuers that the broker started with.
struct Known<'a> {
    profiles: &'a [Profile],
    issuers: &'a [jwt::Settings],
}

impl Known<'_> {
    /// Returns the allows that are not active and that name a profile or issuer which the broker does not have, or not unchanged. Active
    /// ones go on with the old profile or issuer. A denial is never held up.
    fn new_allows_beyond<'a>(&'a self, config: &'a Config, active: &'a Config) -> impl Iterator<Item = &'a Grant> {
        let is_beyond = |grant: &&Grant| !(self.has_profile(config, grant) && self.has_issuers(config, grant));
        let allows = config.policy.grants().iter().filter(|grant| grant.effect != Effect::Deny);
        allows.filter(is_beyond).filter(|grant| !active.policy.grants().contains(grant))
    }

    /// Returns whether the profile of a grant is one that the broker started with, unchanged.
    fn has_profile(&self, config: &Config, grant: &Grant) -> bool {
        let find = |profiles: &[Profile], name: &ProfileName| profiles.iter().find(|one| one.name == *name).cloned();
        let is_known = |name| find(&config.profiles(), name) == find(self.profiles, name);
        grant.profile.as_ref().is_none_or(is_known)
    }

    /// Returns whether each issuer that a grant names is one that the broker started with, unchanged.
    fn has_issuers(&self, config: &Config, grant: &Grant) -> bool {
        let find = |issuers: &[jwt::Settings], name: &str| issuers.iter().find(|one| one.name == name).cloned();
        let is_known = |TokenPattern { issuer, .. }: &TokenPattern| {
            find(&config.server.issuers, issuer) == find(self.issuers, issuer)
        };
        grant.callers.iter().filter_map(CallerPattern::token).all(is_known)
    }
}
