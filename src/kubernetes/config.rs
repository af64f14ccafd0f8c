//! The configuration of the connection: a kubeconfig, or the service account of a pod.

use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::error::without_secrets;
use crate::environment;
use crate::proxy::Proxies;

/// Limits of one call. The backoff between calls is the caller's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the 10 s that an API server waits for an admission webhook by default: its error names the webhook.
const READ_TIMEOUT: Duration = Duration::from_secs(12);

/// Loads the kubeconfig of `KUBECONFIG`; without it, the pod's service account; outside a pod, `~/.kube/config`.
///
/// kube-rs would prefer any `~/.kube/config` to the pod's own account, and would read variables that impersonate other users.
pub(super) async fn load() -> Result<Config, String> {
    let in_pod = environment::variable("KUBERNETES_SERVICE_HOST").is_some();
    let config = if environment::variable("KUBECONFIG").is_none() && in_pod {
        Config::incluster().map_err(|error| format!("service account of the pod: {}", without_secrets(&error)))?
    } else {
        kubeconfig().await?
    };
    Ok(with_limits(config))
}

async fn kubeconfig() -> Result<Config, String> {
    let fix = "set KUBECONFIG, or run in a pod with a service account";
    let kubeconfig = Kubeconfig::read().map_err(|error| format!("{}; {fix}", problem(&error)))?;
    let own_proxy = has_proxy(&kubeconfig);
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|error| problem(&error))?;
    if !own_proxy {
        // kube-rs looks up the proxy itself in NO_PROXY, not the API server.
        let (proxies, errors) = Proxies::from_environment();
        if let Some(error) = errors.first() {
            return Err(format!("{} {}", error.variable, error.problem));
        }
        config.proxy_url = proxies.for_url(&config.cluster_url).and_then(|proxy| proxy.as_str().parse().ok());
    }
    Ok(config)
}

/// Returns whether the current context's cluster names a proxy.
fn has_proxy(kubeconfig: &Kubeconfig) -> bool {
    let named = kubeconfig.contexts.iter().find(|context| Some(&context.name) == kubeconfig.current_context.as_ref());
    let Some(context) = named.and_then(|named| named.context.as_ref()) else { return false };
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    cluster.and_then(|named| named.cluster.as_ref()).is_some_and(|cluster| cluster.proxy_url.is_some())
}

fn with_limits(mut config: Config) -> Config {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // Otherwise the time that a connection was idle counts.
    config.reset_reader_on_write = true;
    // kube-rs would repeat a call for up to 1,000 seconds.
    config.default_retry = false;
    config
}

/// Returns why a kubeconfig cannot be used. The parser's own text quotes the file, which has tokens.
fn problem(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => "kubeconfig: not valid YAML, or not a kubeconfig".to_owned(),
        other => format!("kubeconfig: {}", without_secrets(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_about_a_hanging_webhook_is_awaited() {
        let config = with_limits(Config::new(http::Uri::from_static("https://127.0.0.1")));
        assert!(config.read_timeout.unwrap() > Duration::from_secs(11), "{:?}", config.read_timeout);
    }
}
