//! `serve --simulate`: a simulated AWS in the broker's process.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use tracing::warn;

use crate::address::{DEFAULT_TCP, ListenAddress};
use crate::config::Config;
use crate::simulator::{Settings, Simulator};

/// Starts the simulated AWS and points the configuration at it; without settings, the configuration stays.
pub(super) async fn start(settings: Option<&Settings>, config: Config) -> anyhow::Result<Config> {
    let Some(settings) = settings else { return Ok(config) };
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let simulator = Simulator::bind(any_port, settings.clone()).await.context("cannot start the simulated AWS")?;
    let endpoint = format!("http://{}", simulator.address());
    warn!(%endpoint, "AWS is simulated: no registry accepts the credentials");
    tokio::spawn(simulator.run_until(pending()));
    Ok(pointed_at(endpoint, config))
}

fn pointed_at(endpoint: String, mut config: Config) -> Config {
    if config.server.listen.is_empty() {
        config.server.listen.push(ListenAddress::Tcp(DEFAULT_TCP));
    }
    config.aws.ecr_endpoints.clear();
    config.aws.ecr_endpoint = Some(endpoint.clone());
    config.aws.ecr_public_endpoint = Some(endpoint.clone());
    config.aws.sts_endpoint = Some(endpoint.clone());
    config.aws.signin_endpoint = Some(endpoint);
    config.aws.region.get_or_insert_with(|| "us-east-1".to_owned());
    config.aws.simulated_credentials = true;
    config
}
