//! Log lines at the start: the broker's roles and listeners, and warnings about an open configuration.

use std::path::Path;

use tracing::{info, warn};

use crate::api::ecr;
use crate::broker::Broker;
use crate::config::Config;
use crate::profile::Profile;

/// Logs what an operator must know of a broker that is about to serve at `urls`.
pub(super) fn log_start(config: &Config, broker: &Broker, urls: &[String]) {
    config.aws.profiles.iter().for_each(log_profile);
    if config.audit.is_none() {
        info!("audit log is off; set audit.output");
    }
    if broker.is_open() {
        let addresses = urls.join(", ");
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

/// Logs a profile with its roles: they may allow callers to change images, even if the broker's own identity does not.
fn log_profile(profile: &Profile) {
    info!(
        profile = %profile.name,
        roles = join(&profile.role_chain),
        access = ?profile.access,
        repositories = Some(join(&profile.repositories)).filter(|names| !names.is_empty()),
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
