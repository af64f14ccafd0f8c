//! `simulate-aws`: the simulated AWS as a process without a broker.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::duration;
use crate::environment::check_worker_threads;
use crate::signal::Signals;
use crate::simulator::{Answer, FaultRate, Settings, Simulator};
use crate::terminal::print_line;

const EXAMPLES: &str = "\
Examples:
  ecr-broker simulate-aws --fault throttle=0.1
  export AWS_ENDPOINT_URL=http://127.0.0.1:4599 AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x
  ecr-broker serve

Exit codes: 0 stopped by a signal, 1 the address is in use, 2 wrong flags";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Address to listen on; can be repeated
    #[arg(long, default_value = "127.0.0.1:4599", value_name = "ADDRESS")]
    listen: Vec<SocketAddr>,
    /// Time that each response takes
    #[arg(long, default_value = "0s", value_name = "DURATION", allow_hyphen_values = true, value_parser = duration::parse)]
    latency: Duration,
    /// Validity of tokens
    #[arg(long, default_value = "12h", value_name = "DURATION", allow_hyphen_values = true, value_parser = duration::parse)]
    token_lifetime: Duration,
    /// Make a share of the calls fail
    ///
    /// KIND is throttle, throttle-exception, http-429, denied, server-error, hang or garbage. RATE is from 0 to 1.
    #[arg(long, value_name = "KIND=RATE")]
    fault: Vec<FaultRate>,
    /// Break an assumption that the broker makes about AWS
    ///
    /// For `prove`. ANSWER is policy-ignored, token-ends-with-session, revocation-ignored, no-fips, no-dual-stack, delete-denied,
    /// bearer-refused or no-bearer.
    #[arg(long, value_name = "ANSWER")]
    answer: Vec<Answer>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    check_worker_threads().map_err(anyhow::Error::msg)?;
    let settings = Settings {
        latency: args.latency,
        token_lifetime: args.token_lifetime,
        faults: args.fault.clone(),
        answers: args.answer.clone(),
    };
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

async fn bind(address: SocketAddr, settings: &Settings) -> anyhow::Result<Simulator> {
    let bound = Simulator::bind(address, settings.clone()).await;
    bound.with_context(|| {
        format!("cannot listen on {address}; stop the process that listens there or choose another address")
    })
}
