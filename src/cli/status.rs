//! `status`: prints the broker's state, once or again and again.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;

use super::connection_args::ConnectionArgs;
use super::duration;
use crate::client::{Client, Failure, Settings, block_on};
use crate::exit_code::Exit;
use crate::pb::{GetStatusRequest, GetStatusResponse, KeyOrder};
use crate::terminal::{Format, print_error, try_print_line};

mod keys;
mod layout;
mod screen;
mod text;
mod watch;

/// Shortest interval of `--watch`: each page of 100 keys counts as ten requests.
const MIN_INTERVAL: Duration = Duration::from_millis(500);
/// Keys that pages of the broker reach.
const MAX_KEYS: u64 = 10_000;

const EXAMPLES: &str = "\
Examples:
  ecr-broker status --watch
  ecr-broker status --sort hits --region eu-west-1 --limit 20
  ecr-broker status --failing -o json | jq -r '.keys[].registry'

Exit codes: 0 shown, 4 not an operator, 5 no answer";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Output format; durations in JSON are seconds
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Show the status again and again, until Ctrl-C
    ///
    /// On a terminal the view is redrawn in place. Otherwise each status follows the one before.
    #[arg(short, long)]
    watch: bool,
    /// Time between two statuses of --watch
    #[arg(long, value_name = "DURATION", default_value = "2s", allow_hyphen_values = true, value_parser = interval)]
    interval: Duration,
    /// Order of the keys
    #[arg(long, value_enum, default_value_t = Order::Expiry)]
    sort: Order,
    /// Show only keys of this account
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    account: String,
    /// Show only keys of this region
    #[arg(long, default_value = "", hide_default_value = true)]
    region: String,
    /// Show only keys of this profile
    #[arg(long, default_value = "", hide_default_value = true)]
    profile: String,
    /// Show only keys whose last fetch failed
    #[arg(long)]
    failing: bool,
    /// Maximum number of keys
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=MAX_KEYS))]
    limit: u64,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The soonest expiry first
    Expiry,
    /// By account, region and profile
    Registry,
    /// The most hits first
    Hits,
    /// The newest failure first
    Failure,
}

impl From<Order> for KeyOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Expiry => Self::Expiry,
            Order::Registry => Self::Registry,
            Order::Hits => Self::Hits,
            Order::Failure => Self::Failure,
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    if interval < MIN_INTERVAL { Err("below 500ms; give at least that".to_owned()) } else { Ok(interval) }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, _) = args.connection.settings()?;
    Ok(block_on(show(args, &settings))??.into())
}

async fn show(args: &Args, settings: &Settings) -> anyhow::Result<Exit> {
    if args.watch {
        let (ask, print) = (|| ask(args, settings), |status: &GetStatusResponse| print(args, status));
        return Box::pin(watch::follow(ask, args.interval, args.output, print)).await;
    }
    match ask(args, settings).await {
        Ok(status) => print(args, &status).map(|_| Exit::Success),
        Err(failure) => {
            print_error(&failure);
            Ok(Exit::from(&failure))
        }
    }
}

/// A new connection each time finds a broker that restarted, or the next address.
async fn ask(args: &Args, settings: &Settings) -> Result<GetStatusResponse, Failure> {
    let request = GetStatusRequest {
        order: KeyOrder::from(args.sort).into(),
        account_id: args.account.clone(),
        region: args.region.clone(),
        profile: args.profile.clone(),
        failing: args.failing,
        ..GetStatusRequest::default()
    };
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    Client::connect(settings).await?.status(&request, limit).await
}

/// Prints a status; returns false if the reader has closed its end.
fn print(args: &Args, status: &GetStatusResponse) -> anyhow::Result<bool> {
    match args.output {
        Format::Text => try_print_line(layout::lines(status, None).join("\n")),
        Format::Json => try_print_line(serde_json::to_string(status)?),
    }
}
