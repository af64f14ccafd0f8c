//! Reloads grants while the broker runs: on SIGHUP, and when the configuration's files have changed.
//!
//! Other settings take effect at the next start. A configuration that cannot be applied changes nothing.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tracing::{error, info};

use crate::authn::jwt;
use crate::broker::Broker;
use crate::config::{Config, Diagnostic, Sources};
use crate::credential::ProfileName;
use crate::follow_file::{Check, FileFollower, Found, Hangups};
use crate::policy::{CallerPattern, Policy, TokenPattern};
use crate::profile::Profile;
use crate::supervise;

/// Checks between two log lines about the same problem, about ten minutes.
const REMINDER: u32 = 120;

/// Follows the files for as long as it is polled. `issuers` are those that the broker started with.
pub(super) async fn follow_files(broker: Arc<Broker>, issuers: Vec<jwt::Settings>, sources: Sources, hangup: Signal) {
    let hangups = Hangups::new(hangup);
    let start = || follow(Arc::clone(&broker), issuers.clone(), sources.clone(), hangups.receiver());
    supervise::run("grant reload", start).await;
}

async fn follow(broker: Arc<Broker>, issuers: Vec<jwt::Settings>, mut sources: Sources, hangup: Option<Signal>) {
    let files = sources.files.clone();
    let read = move || Ok::<_, Infallible>(files.read_again());
    let mut follower = FileFollower::new("configuration", sources.files.clone(), read).on_hangup(hangup);
    let mut reminder: u32 = 0;
    loop {
        let Check { requested, found } = follower.next().await;
        reminder = reminder.saturating_sub(1);
        let Found::Settled { contents, changed } = found else { continue };
        if requested || changed || reminder == 1 {
            // Use the settled contents: the files may have changed again since.
            sources.files = contents;
            reminder = if reload(&broker, &issuers, &sources) { 0 } else { REMINDER };
        }
    }
}

/// Activates the grants of the files; returns whether they are active.
fn reload(broker: &Broker, issuers: &[jwt::Settings], sources: &Sources) -> bool {
    match Config::load(sources) {
        Ok(config) => match check(&config, broker, issuers) {
            Ok(()) => {
                let policy = broker.set_policy(config.policy);
                info!(policy, "grants reloaded; other settings need a restart");
                true
            }
            Err(problem) => {
                error!(problem, "grants not reloaded; the old grants stay active");
                false
            }
        },
        Err(diagnostics) => {
            diagnostics.iter().for_each(log_invalid);
            false
        }
    }
}

fn log_invalid(problem: &Diagnostic) {
    error!(%problem, "grants not reloaded; the old grants stay active");
}

/// Checks that a valid configuration can be applied to the running broker.
fn check(config: &Config, broker: &Broker, issuers: &[jwt::Settings]) -> Result<(), &'static str> {
    if matches!(config.policy, Policy::Open) && !broker.is_open() {
        return Err("the configuration no longer has grants; restart the broker to open it to every caller, or set \
                    grants = [] to close it");
    }
    if config.policy.is_observed() && !broker.is_observing() {
        return Err(
            "policy.mode = \"observe\" allows every authenticated caller everything; restart the broker to apply it",
        );
    }
    if !names_known_profiles(config, broker) || !names_known_issuers(config, issuers) {
        return Err(
            "the grants name profiles or issuers that are new or have changed; restart the broker to apply them",
        );
    }
    Ok(())
}

/// Returns whether each profile that a grant names is one that the broker started with, unchanged.
fn names_known_profiles(config: &Config, broker: &Broker) -> bool {
    let find = |profiles: &[Profile], name: &ProfileName| profiles.iter().find(|one| one.name == *name).cloned();
    let mut named = config.policy.grants().iter().filter_map(|grant| grant.profile.as_ref());
    named.all(|name| find(&config.aws.profiles, name) == find(broker.profiles(), name))
}

/// Returns whether each issuer that a grant names is one that the broker started with, unchanged.
fn names_known_issuers(config: &Config, running: &[jwt::Settings]) -> bool {
    let find = |issuers: &[jwt::Settings], name: &str| issuers.iter().find(|one| one.name == name).cloned();
    config.policy.grants().iter().flat_map(|grant| &grant.callers).all(|caller| match caller {
        CallerPattern::Token(TokenPattern { issuer, .. }) => {
            find(&config.server.issuers, issuer) == find(running, issuer)
        }
        _ => true,
    })
}
