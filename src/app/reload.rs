//! Reloads grants while the broker runs: on SIGHUP, and when the configuration's files have changed.
//!
//! Other settings take effect at the next start. A file with a mistake keeps its last valid contents; all others take effect, so that a
//! team's file cannot hold up the removal of a grant elsewhere.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use tokio::signal::unix::Signal;
use tracing::{error, info};

use self::independent::{Combined, combine};
use crate::authn::jwt;
use crate::broker::Broker;
use crate::config::{Config, Diagnostic, Files, Sources};
use crate::credential::ProfileName;
use crate::follow_file::{Check, FileFollower, Found, Hangups};
use crate::policy::{CallerPattern, Grant, Policy, TokenPattern};
use crate::profile::Profile;
use crate::server::Health;
use crate::supervise;
use crate::sync::lock;

mod independent;

/// Checks between two log lines about the same problem, about a minute.
const REMINDER: u32 = 12;

/// The checks until a problem is logged again; none if there is no problem.
#[derive(Debug, Default)]
struct Reminder(u32);

impl Reminder {
    /// Counts a check.
    fn is_due(&mut self) -> bool {
        let is_last = self.0 == 1;
        self.0 = self.0.saturating_sub(1);
        is_last
    }
}

/// The running broker, by which new grants are checked.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) broker: Arc<Broker>,
    /// The issuers that the broker started with.
    pub(super) issuers: Vec<jwt::Settings>,
    pub(super) health: Health,
}

/// Follows the files for as long as it is polled.
pub(super) async fn follow_files(running: Running, sources: Sources, hangup: Signal) {
    let hangups = Hangups::new(hangup);
    let start = || follow(running.clone(), sources.clone(), hangups.receiver());
    supervise::run("grant reload", start).await;
}

async fn follow(running: Running, mut sources: Sources, hangup: Option<Signal>) {
    let mut follower = FileFollower::new("configuration", sources.files.clone(), reader(&sources)).on_hangup(hangup);
    let mut reminder = Reminder::default();
    loop {
        let Check { requested, found } = follower.next().await;
        let is_due = reminder.is_due();
        let Found::Settled { contents, changed } = found else { continue };
        if requested || changed || is_due {
            // Use the settled contents: the files may have changed again since.
            let is_valid = running.reload(&mut sources, contents);
            running.health.report_configuration(is_valid).await;
            reminder = if is_valid { Reminder::default() } else { Reminder(REMINDER) };
        }
    }
}

/// Returns a function that reads the files again. Each reading needs the one before: see [`Files::read_again`].
fn reader(sources: &Sources) -> impl Fn() -> Result<Files, Infallible> + Send + Sync + 'static {
    let last = Mutex::new(sources.files.clone());
    move || {
        let mut last = lock(&last);
        *last = last.read_again();
        Ok(last.clone())
    }
}

impl Running {
    /// Activates the grants of the valid files, which `sources` then has. Returns whether every file is valid.
    fn reload(&self, sources: &mut Sources, found: Files) -> bool {
        let Combined { config, files, problems } =
            combine(sources, found, |config, active, found| self.problems_of(config, active, found));
        problems.iter().for_each(log_invalid);
        if !self.may_activate(&config) {
            return false;
        }
        let changed = files != sources.files;
        sources.files = files;
        if changed || problems.is_empty() {
            let policy = self.broker.set_policy(config.policy);
            info!(policy, "grants reloaded; other settings need a restart");
        }
        problems.is_empty()
    }

    /// Returns whether the policy keeps the broker as closed as it is. `problems_of` has reported the file.
    fn may_activate(&self, config: &Config) -> bool {
        let opens = config.policy == Policy::Open && !self.broker.is_open();
        !opens && (!config.policy.is_observed() || self.broker.is_observing())
    }

    /// Returns why a valid configuration cannot be applied to the running broker.
    fn problems_of(&self, config: &Config, active: &Files, found: &Files) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        let mut report =
            |place: String, problem: &str| problems.push(Diagnostic { place, problem: problem.to_owned() });
        if config.policy == Policy::Open && !self.broker.is_open() {
            report(
                found.name(),
                "the configuration no longer has grants; restart the broker to open it to every caller, or set grants = [] to close it",
            );
        }
        if config.policy.is_observed() && !self.broker.is_observing() {
            report(
                found.name(),
                "policy.mode: \"observe\" allows every authenticated caller everything; restart the broker to apply it",
            );
        }
        let changed = found.changed_since(active);
        for grant in config.policy.grants() {
            let place = config.grant_files.get(&grant.id).filter(|place| changed.contains(*place));
            if let (Some(place), false) =
                (place, self.knows_profile(config, grant) && self.knows_issuers(config, grant))
            {
                let problem = format!(
                    "grant {:?}: its profile or issuer is new or has changed; restart the broker to apply it",
                    grant.id
                );
                report(place.clone(), &problem);
            }
        }
        problems
    }

    /// Returns whether the profile of a grant is one that the broker started with, unchanged.
    fn knows_profile(&self, config: &Config, grant: &Grant) -> bool {
        let find = |profiles: &[Profile], name: &ProfileName| profiles.iter().find(|one| one.name == *name).cloned();
        let is_known = |name| find(&config.aws.profiles, name) == find(self.broker.profiles(), name);
        grant.profile.as_ref().is_none_or(is_known)
    }

    /// Returns whether each issuer that a grant names is one that the broker started with, unchanged.
    fn knows_issuers(&self, config: &Config, grant: &Grant) -> bool {
        let find = |issuers: &[jwt::Settings], name: &str| issuers.iter().find(|one| one.name == name).cloned();
        grant.callers.iter().all(|caller| match caller {
            CallerPattern::Token(TokenPattern { issuer, .. }) => {
                find(&config.server.issuers, issuer) == find(&self.issuers, issuer)
            }
            _ => true,
        })
    }
}

fn log_invalid(problem: &Diagnostic) {
    error!(%problem, "grants not reloaded; the file's last valid contents stay active");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_is_due_once_a_minute_and_nothing_without_one() {
        let due = |mut reminder: Reminder| (1..=30).filter(|_| reminder.is_due()).count();
        assert_eq!((due(Reminder::default()), due(Reminder(REMINDER))), (0, 1));
        let mut reminder = Reminder(REMINDER);
        assert_eq!((1..=30).find(|_| reminder.is_due()), Some(12), "12 checks of 5 s");
    }
}
