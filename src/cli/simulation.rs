//! Flags of `serve --simulate`.

use std::net::SocketAddr;
use std::time::Duration;

use super::duration;
use crate::app::Simulation;
use crate::simulator::{FaultRate, Settings};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Simulation")]
pub(super) struct Flags {
    /// Put a simulated AWS behind the broker
    ///
    /// Everything works without an AWS account, but no real registry accepts the credentials.
    #[arg(long)]
    simulate: bool,
    /// Address of the simulated AWS, which is also a registry
    ///
    /// Tools that use it as HTTP proxy push to and pull from it under ECR's host names. Images stay in memory. The default is a
    /// free port of 127.0.0.1 that is not printed.
    #[arg(long, value_name = "ADDRESS", requires = "simulate")]
    simulate_listen: Option<SocketAddr>,
    /// Time that each simulated response takes
    #[arg(long, default_value = "0s", value_name = "DURATION", allow_hyphen_values = true, value_parser = duration::parse)]
    #[arg(requires = "simulate")]
    simulate_latency: Duration,
    /// Validity of simulated tokens
    #[arg(long, default_value = "12h", value_name = "DURATION", allow_hyphen_values = true, value_parser = duration::parse)]
    #[arg(requires = "simulate")]
    simulate_token_lifetime: Duration,
    /// Make a share of the simulated calls fail
    ///
    /// KIND is throttle, throttle-exception, http-429, denied, server-error, hang or garbage. RATE is from 0 to 1.
    #[arg(long, value_name = "KIND=RATE", requires = "simulate")]
    simulate_fault: Vec<FaultRate>,
}

impl Flags {
    /// Returns the simulated AWS; none without `--simulate`.
    pub(super) fn start(&self) -> Option<Simulation> {
        let settings = || Settings {
            latency: self.simulate_latency,
            token_lifetime: self.simulate_token_lifetime,
            faults: self.simulate_fault.clone(),
            ..Settings::default()
        };
        self.simulate.then(|| Simulation { listen: self.simulate_listen, settings: settings() })
    }

    /// Returns what `--simulate` sets in the configuration: every process of this host may call.
    pub(super) fn flags(&self) -> Vec<(&'static str, &'static str, toml::Value)> {
        self.simulate.then(|| ("authentication.loopback", "--simulate", true.into())).into_iter().collect()
    }
}
