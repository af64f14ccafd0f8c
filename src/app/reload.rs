//! Grants that change while the broker runs: its files are read again on SIGHUP, and when they have changed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::authn::jwt;
use crate::broker::Broker;
use crate::config::{Config, Sources};
use crate::credential::ProfileName;
use crate::policy::{CallerPattern, Policy, TokenPattern};
use crate::profile::Profile;
use crate::supervise;

/// How often it is looked whether the files have changed. Their texts are compared, for Kubernetes swaps links and keeps times.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a file has to stay the same where somebody asks for it to be read.
const MOMENT: Duration = Duration::from_millis(100);
/// And so often it is waited for, before it is left to the next look.
const MOMENTS: u32 = 50;
/// After how many looks a mistake that is still there is said again: about ten minutes.
const REMINDER: u32 = 120;

/// Follows the files for as long as it is polled. `hangup` was there before anybody could send one.
pub(crate) async fn keep_following(broker: Arc<Broker>, issuers: Vec<jwt::Settings>, sources: Sources, hangup: Signal) {
    let first = Mutex::new(Some(hangup));
    let begin = || {
        let hangup = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let hangup = hangup.map_or_else(|| signal(SignalKind::hangup()), Ok);
        let (broker, issuers, sources) = (Arc::clone(&broker), issuers.clone(), sources.clone());
        async move {
            match hangup {
                Ok(hangup) => follow(broker, issuers, sources, hangup).await,
                Err(problem) => error!(%problem, "SIGHUP cannot be waited for"),
            }
        }
    };
    supervise::run("following the configuration's files", begin).await;
}

/// Puts the files' grants in force, whenever there are new ones; the other settings stay until the next start. A file with a mistake
/// in it changes nothing, and it is said again as long as that is so.
async fn follow(broker: Arc<Broker>, issuers: Vec<jwt::Settings>, mut sources: Sources, mut hangup: Signal) {
    let mut tick = tokio::time::interval(INTERVAL);
    // A file that is being written may be read half-way, without the grants or the denials at its end.
    let mut settling = sources.files.clone();
    let mut reminder = 0;
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            _ = tick.tick() => false,
        };
        let mut now = sources.files.read_again();
        let mut settled = now == settling;
        // Whoever asks waits for no look.
        for _ in 0..MOMENTS {
            if !asked || settled {
                break;
            }
            settling = now;
            tokio::time::sleep(MOMENT).await;
            now = sources.files.read_again();
            settled = now == settling;
        }
        if asked && !settled {
            warn!("the configuration's files keep changing; they will be read when they have settled");
        }
        settling = now.clone();
        reminder = if reminder == 0 { 0 } else { reminder - 1 };
        if settled && (asked || now != sources.files || reminder == 1) {
            // What has settled, and not what may stand there by now.
            sources.files = now;
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
