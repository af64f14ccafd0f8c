//! Grants that change while the broker runs: its files are read again on SIGHUP, and when they have changed.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tracing::{error, info};

use crate::authn::jwt;
use crate::broker::Broker;
use crate::config::{Config, Sources};
use crate::credential::ProfileName;
use crate::follow_file::{Check, FileFollower, Found, Hangups};
use crate::policy::{CallerPattern, Policy, TokenPattern};
use crate::profile::Profile;
use crate::supervise;

/// After how many looks a mistake that is still there is said again: about ten minutes.
const REMINDER: u32 = 120;

/// Follows the files for as long as it is polled.
pub(crate) async fn keep_following(broker: Arc<Broker>, issuers: Vec<jwt::Settings>, sources: Sources, hangup: Signal) {
    let hangups = Hangups::new(hangup);
    let start = || follow(Arc::clone(&broker), issuers.clone(), sources.clone(), hangups.receiver());
    supervise::run("following the configuration's files", start).await;
}

/// Puts the files' grants in force, whenever there are new ones; the other settings stay until the next start. A file with a mistake
/// in it changes nothing, and it is said again as long as that is so.
async fn follow(broker: Arc<Broker>, issuers: Vec<jwt::Settings>, mut sources: Sources, hangup: Option<Signal>) {
    let files = sources.files.clone();
    let read = move || Ok::<_, Infallible>(files.read_again());
    let mut follower = FileFollower::new("configuration", sources.files.clone(), read).on_hangup(hangup);
    let mut reminder = 0;
    loop {
        let Check { requested, found } = follower.next().await;
        reminder = if reminder == 0 { 0 } else { reminder - 1 };
        let Found::Settled { contents, changed } = found else { continue };
        if requested || changed || reminder == 1 {
            // What has settled, and not what may stand there by now.
            sources.files = contents;
            reminder = if reload(&broker, &issuers, &sources) { 0 } else { REMINDER };
        }
    }
}

/// Whether the file's grants are in force.
fn reload(broker: &Broker, issuers: &[jwt::Settings], sources: &Sources) -> bool {
    match Config::load(sources) {
        Ok(Config { policy: Policy::Open, .. }) if !broker.is_open() => {
            error!(
                "the configuration was read again and has no grants any more; the old ones stay in force. To open the broker \
                 to everybody, start it anew; to close it to everybody, write grants = []"
            );
            false
        }
        Ok(config) if config.policy.is_observed() && !broker.is_observing() => {
            error!(
                "the configuration was read again and has policy.mode = \"observe\", which gives everything to everybody who is let in \
                 and so takes a restart; the old grants stay in force"
            );
            false
        }
        Ok(config) if !names_what_there_is(&config, broker) || !names_the_same_issuers(&config, issuers) => {
            error!(
                "the configuration was read again and its grants name profiles or issuers of tokens that are new or have changed, which \
                 takes a restart; the old grants stay in force"
            );
            false
        }
        Ok(config) => {
            let policy = broker.set_policy(config.policy);
            info!(
                policy,
                "the configuration was read again, and its grants are in force; other settings need a restart"
            );
            true
        }
        Err(diagnostics) => {
            for mistake in diagnostics {
                error!(%mistake, "the configuration was read again and has a mistake; the old grants stay in force");
            }
            false
        }
    }
}

/// Whether each profile that a grant names is one that the broker mints by now, and still the same.
fn names_what_there_is(config: &Config, broker: &Broker) -> bool {
    let find = |profiles: &[Profile], name: &ProfileName| profiles.iter().find(|one| one.name == *name).cloned();
    let grants = config.policy.grants().iter();
    grants
        .filter_map(|grant| grant.profile.as_ref())
        .all(|name| find(&config.aws.profiles, name) == find(broker.profiles(), name))
}

/// Whether each issuer that a grant names is the one that the broker knows by that name.
fn names_the_same_issuers(config: &Config, running: &[jwt::Settings]) -> bool {
    let find = |issuers: &[jwt::Settings], name: &str| issuers.iter().find(|one| one.name == name).cloned();
    config.policy.grants().iter().flat_map(|grant| &grant.callers).all(|caller| match caller {
        CallerPattern::Token(TokenPattern { issuer, .. }) => {
            find(&config.server.issuers, issuer) == find(running, issuer)
        }
        _ => true,
    })
}
