//! Reloads the configuration while the broker runs: on SIGHUP, and when its files have changed.
//!
//! Grants, profiles, issuers, aliases and `cache.keep_warm` take effect together; the log names what else has changed and needs a
//! restart. A file with a mistake keeps its last valid contents as a whole, and so does one that keeps changing; all others take
//! effect, so that a team's file cannot hold up the removal of a grant elsewhere.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use tokio::signal::unix::Signal;
use tracing::info;

use self::independent::{Combined, Effect, Problem, combine};
use self::problem_log::ProblemLog;
use self::running::Applied;
use crate::config::{Disk, Settled, Sources};
use crate::follow_file::{FileFollower, Found, Hangups};
use crate::supervise;
use crate::sync::lock;

mod config_info;
mod independent;
mod problem_log;
mod running;

pub(super) use self::config_info::ConfigInfo;
pub(super) use self::running::{Running, Started};

/// What this follows, in logs and health.
const FILES: &str = "configuration";

/// Follows the files for as long as it is polled.
pub(super) async fn follow_files(running: Running, sources: Sources, hangup: Signal) {
    let hangups = Hangups::new(hangup);
    let active = Arc::new(Mutex::new(sources));
    let start = || follow(running.clone(), Arc::clone(&active), hangups.receiver());
    supervise::run("configuration reload", start).await;
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
            let problems = running.reload(&mut sources, &read, requested || log.has_problems()).await;
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
    /// Activates the valid files, which `sources` then has, and returns the problems of the others. `announce` asks for a log line
    /// even if nothing changed.
    async fn reload(&self, sources: &mut Sources, disk: &Disk, announce: bool) -> Vec<Problem> {
        let Combined { config, files, mut problems } =
            combine(sources, disk, |config, active, files| self.problems_of(config, active, files));
        if files == sources.files && !(announce && problems.is_empty()) {
            return problems;
        }
        let issuers = match self.load_issuers(&config) {
            Ok(issuers) => issuers,
            // A key file has changed since the check.
            Err(diagnostic) => {
                problems.push(Problem { effect: Effect::FileKept, file: files.name(), diagnostic });
                return problems;
            }
        };
        sources.files = files;
        let (mode, grants, profiles) = (config.policy.mode(), config.policy.grants().len(), config.aws.profiles.len());
        let needs_restart = self.needs_restart(sources, &config);
        let included_files = sources.files.included();
        let Applied { policy, config_hash, changed_profiles, dropped } = self.apply(sources, config, issuers).await;
        info!(
            mode,
            grants,
            profiles,
            included_files,
            policy,
            config_hash,
            changed_profiles = joined(&changed_profiles),
            dropped_credentials = dropped,
            needs_restart = joined(&needs_restart),
            "configuration reloaded"
        );
        problems
    }
}

/// Returns the names in a log line; none: the line has no such field.
fn joined(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join(", "))
}
