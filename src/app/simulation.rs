//! `serve --simulate`: a simulated AWS in the broker's process.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use tracing::warn;

use crate::address::{DEFAULT_TCP, ListenAddress};
use crate::config::Config;
use crate::simulator::{Settings, Simulator};
use crate::terminal::print_line;

/// The simulated AWS of a broker.
#[derive(Debug)]
pub struct Simulation {
    /// Its address; none: a free port of loopback that only the broker knows.
    pub listen: Option<SocketAddr>,
    /// Its behaviour.
    pub settings: Settings,
}

impl Simulation {
    /// Prints the chosen address, at which tools reach the simulated registries.
    pub(super) fn announce(&self, config: &Config) -> anyhow::Result<()> {
        match (&self.listen, &config.aws.ecr_endpoint) {
            (Some(_), Some(endpoint)) => print_line(format_args!("listening on simulated-aws+{endpoint}")),
            _ => Ok(()),
        }
    }
}

/// Starts the simulated AWS and points the configuration at it; without one, the configuration stays.
pub(super) async fn start(simulation: Option<&Simulation>, config: Config) -> anyhow::Result<Config> {
    let Some(Simulation { listen, settings }) = simulation else { return Ok(config) };
    let address = listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let simulator = Simulator::bind(address, settings.clone()).await;
    let simulator = simulator.with_context(|| format!("cannot start the simulated AWS on {address}"))?;
    let endpoint = format!("http://{}", simulator.address());
    warn!(%endpoint, "AWS is simulated: no real registry accepts the credentials");
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
