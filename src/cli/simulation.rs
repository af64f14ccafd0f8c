//! Flags of `serve --simulate`.

use std::time::Duration;

use super::duration;
use crate::simulator::{FaultRate, Settings};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Simulation")]
pub(super) struct Simulation {
    /// Put a simulated AWS behind the broker
    ///
    /// Everything works without an AWS account, but no registry accepts the credentials.
    #[arg(long)]
    simulate: bool,
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

impl Simulation {
    /// Returns the settings of the simulated AWS; none without `--simulate`.
    pub(super) fn settings(&self) -> Option<Settings> {
        self.simulate.then(|| Settings {
            latency: self.simulate_latency,
            token_lifetime: self.simulate_token_lifetime,
            faults: self.simulate_fault.clone(),
            ..Settings::default()
        })
    }

    /// Returns what `--simulate` sets in the configuration: every process of this host may call.
    pub(super) fn flags(&self) -> Vec<(&'static str, &'static str, toml::Value)> {
        self.simulate.then(|| ("authentication.loopback", "--simulate", true.into())).into_iter().collect()
    }
}
