//! Log lines at the start: the broker's roles and listeners, and warnings about an open configuration.

use std::path::Path;

use tracing::{info, warn};

use crate::api::ecr;
use crate::audit::OnFailure;
use crate::broker::Broker;
use crate::config::{Config, Files};
use crate::profile::Profile;
use crate::server;

/// Logs what an operator must know of a broker that is about to serve at `urls`, with the configuration of `files` and its
/// fingerprint.
pub(super) fn log_start(config: &Config, files: (&Files, &str), broker: &Broker, urls: &[String]) {
    log_summary(config, files, broker, urls);
    config.aws.profiles.iter().for_each(log_profile);
    if config.audit.is_none() {
        info!("audit log is off; set audit.output");
    }
    if config.audit.as_ref().is_some_and(|audit| audit.on_failure != OnFailure::Refuse) {
        warn!("audit.on_failure is release: credentials are released even if their records cannot be written");
    }
    if broker.is_open() {
        let of_callers: Vec<_> = urls.iter().filter(|url| !url.starts_with("ops+")).map(String::as_str).collect();
        let addresses = of_callers.join(", ");
        warn!(addresses, "no grants configured: every caller that can connect may have every credential");
    }
    if broker.is_observing() {
        warn!("policy.mode is observe: denied requests are allowed, and audited as observed");
    }
    let ecr_api = urls.iter().find_map(|url| url.strip_prefix("aws+"));
    if let (Some(url), Some(api)) = (ecr_api, &config.server.aws_api) {
        log_ecr_api(url, &api.secret_file);
    }
}

/// The AWS identity is logged once it is found: the start does not wait for it (P13).
fn log_summary(config: &Config, (files, config_hash): (&Files, &str), broker: &Broker, urls: &[String]) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config = Some(files.name()).filter(|name| !name.is_empty()),
        included_files = files.included(),
        region = broker.region().map(tracing::field::display),
        listeners = urls.join(", "),
        mode = config.policy.mode(),
        grants = config.policy.grants().len(),
        profiles = config.aws.profiles.len(),
        parents = Some(join(&config.parents.iter().map(|one| &one.name).collect::<Vec<_>>()))
            .filter(|names| !names.is_empty()),
        policy = broker.policy_name(),
        config_hash,
        "broker started"
    );
}

/// Logs that the shutdown starts, with how long it may take and how many connections it ends.
pub(super) fn log_shutdown(settings: &server::Settings, connections: usize) {
    let [drain_delay, drain_timeout] = [settings.drain_delay, settings.drain_timeout].map(humantime::format_duration);
    info!(connections, %drain_delay, %drain_timeout, "shutdown started");
}

/// Logs a profile with its roles: they may allow callers to change images, even if the broker's own identity does not.
fn log_profile(profile: &Profile) {
    info!(
        profile = %profile.name,
        roles = join(&profile.role_chain),
        access = ?profile.access,
        repositories = Some(join(&profile.repositories)).filter(|names| !names.is_empty()),
        extra = Some(&profile.extra).filter(|extra| !extra.is_empty()).map(tracing::field::debug),
        "profile configured"
    );
}

fn log_ecr_api(url: &str, secret_file: &Path) {
    let (url, secret_file) = (format!("{url}{}", ecr::PREFIX), secret_file.display());
    info!(
        url,
        %secret_file,
        "ECR API ready: set AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL_ECR_PUBLIC to the URL followed by the secret; beside \
         HTTP_PROXY, set NO_PROXY=127.0.0.1,localhost, or the proxy receives the secret"
    );
}

fn join(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
