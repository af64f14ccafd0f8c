//! `probe`: the health check of a container or a script.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::connection_args::ConnectionArgs;
use super::duration;
use crate::client::{Client, Failure, Settings, block_on};
use crate::exit_code::Exit;
use crate::terminal::{Format, print_error, print_line};

/// The health service of readiness: the broker can release credentials.
const READY: &str = "ecrbroker.v1.RegistryCredentialsService";
/// Pause between two checks of `--wait`.
const PAUSE: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  ecr-broker probe                      # liveness: the process answers and is not shutting down
  ecr-broker probe --ready              # readiness: it can also release credentials
  ecr-broker probe --ready --wait 30s   # in a script, after the start of a broker

Exit codes: 0 serving, 1 not serving, 2 wrong flags, 5 no answer";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Health service to check; empty for the process
    ///
    /// ecrbroker.v1.RegistryCredentialsService is serving while the broker can release credentials (--ready); config is serving
    /// while every configuration file is in effect.
    #[arg(long, default_value = "", hide_default_value = true)]
    service: String,
    /// Check readiness: whether the broker can release credentials
    #[arg(long, conflicts_with = "service")]
    ready: bool,
    /// Longest wait for a broker that is serving, such as 30s
    ///
    /// It replaces the timeout. Without it the command waits for an address to answer, but not for a broker that is not serving.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = duration::parse)]
    wait: Option<Duration>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, _) = args.connection.settings_within(args.wait)?;
    let service = if args.ready { READY } else { &args.service };
    let result = block_on(check(&settings, service, args.wait.is_some()))?;
    let is_serving = result == Ok(true);
    match args.output {
        Format::Json => print_line(json!({ "service": service, "serving": is_serving }))?,
        Format::Text if is_serving && args.ready => print_line("ready")?,
        Format::Text if is_serving => print_line("serving")?,
        Format::Text => {}
    }
    match result {
        Ok(true) => return Ok(ExitCode::SUCCESS),
        Ok(false) => print_error("the broker is not serving; ecr-broker doctor says why"),
        Err(failure) if failure.code == Code::NotFound => {
            print_error(format_args!("unknown health service {service:?}; use --ready, --service config or neither"));
        }
        Err(failure) => {
            print_error(&failure);
            return Ok(Exit::from(&failure).into());
        }
    }
    Ok(ExitCode::FAILURE)
}

/// Checks once, or until the broker is serving or the timeout of the settings ends.
async fn check(settings: &Settings, service: &str, is_waiting: bool) -> Result<bool, Failure> {
    let end = Instant::now() + settings.timeout;
    let mut client = Client::connect(settings).await?;
    loop {
        let is_serving = client.is_serving(service).await?;
        if is_serving || !is_waiting || Instant::now() + PAUSE >= end {
            return Ok(is_serving);
        }
        sleep(PAUSE).await;
    }
}
