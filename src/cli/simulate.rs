//! `simulate-aws`, and the simulated AWS's own flags.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::signal::Signals;
use crate::simulator::{FaultRate, Settings, Simulator};
use crate::terminal::print_line;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:4599", value_name = "ADDRESS")]
    listen: Vec<SocketAddr>,
    /// How long each answer takes
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// How long tokens last
    #[arg(long, default_value = "12h", value_name = "DURATION", value_parser = humantime::parse_duration)]
    token_lifetime: Duration,
    /// Let a part of the calls fail: KIND is throttle, throttle-exception, http-429, denied, server-error, hang or garbage, RATE
    /// is 0 to 1
    #[arg(long, value_name = "KIND=RATE")]
    fault: Vec<FaultRate>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = Settings { latency: args.latency, token_lifetime: args.token_lifetime, faults: args.fault.clone() };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(simulate(&args.listen, &settings))?;
    Ok(ExitCode::SUCCESS)
}

async fn simulate(addresses: &[SocketAddr], settings: &Settings) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut simulators = Vec::new();
    for address in addresses {
        simulators.push(bind(*address, settings).await?);
    }
    for simulator in &simulators {
        print_line(format_args!("listening on http://{}", simulator.address()))?;
    }
    let mut running = JoinSet::new();
    let stop = CancellationToken::new();
    for simulator in simulators {
        running.spawn(simulator.run_until(stop.clone().cancelled_owned()));
    }
    signals.received().await;
    stop.cancel();
    running.join_all().await;
    Ok(())
}

/// Binds a simulated AWS.
pub(super) async fn bind(address: SocketAddr, settings: &Settings) -> anyhow::Result<Simulator> {
    let bound = Simulator::bind(address, settings.clone()).await;
    bound.with_context(|| format!("cannot listen on {address}; stop what listens there or choose another address"))
}
