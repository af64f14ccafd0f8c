//! `prove`: what the broker assumes of AWS, checked in a real account.

use std::process::ExitCode;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::config::{self, File};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::doctor::RegistryUrl;
use crate::exit_code::Exit;
use crate::prove::{Cleanup, Kit, Outcome, Request, Verdict, run as run_checks};
use crate::signal::Signals;
use crate::terminal::{Format, print_error, print_line};

const EXAMPLES: &str = "\
Examples:
  ecr-broker prove
  ecr-broker prove --account-sandbox --role arn:aws:iam::123456789012:role/ecr-sandbox
  ecr-broker prove --account-sandbox --role ROLE_ARN --session-end --output json >evidence.json

Against the simulated AWS, after ecr-broker simulate-aws --answer policy-ignored:
  export AWS_ENDPOINT_URL=http://127.0.0.1:4599 AWS_REGION=eu-west-1
  export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x
  ecr-broker prove --account-sandbox --role ROLE_ARN --registry-url http://127.0.0.1:4599

Exit codes: 0 nothing refuted and nothing left behind, 1 a check is refuted, a repository is left or
the run was stopped, 2 wrong flags";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    file: File,
    /// Allow the checks to create repositories
    ///
    /// Their names begin with ecr-broker-prove/. They are deleted at the end, also after errors and signals; what could not be
    /// deleted is listed. Use an account without images of value.
    #[arg(long)]
    account_sandbox: bool,
    /// Role to assume; it may pull from and push to the sandbox
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    /// Wait 16 minutes for the end of a role session
    #[arg(long, requires = "account_sandbox", requires = "role")]
    session_end: bool,
    /// Send tokens to this URL instead of the registry
    #[arg(long, value_name = "URL")]
    registry_url: Option<RegistryUrl>,
    /// Output format; JSON has a line per check
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.file.sources()) {
        Ok(config) => config,
        Err(problems) => return Ok(config::report(Err(problems))),
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(prove(args, config))
}

async fn prove(args: Args, config: Config) -> anyhow::Result<ExitCode> {
    let Args { account_sandbox: sandbox, role, session_end, registry_url, output, .. } = args;
    let (mut signals, stop) = (Signals::listen()?, CancellationToken::new());
    let stopped = stop.clone();
    tokio::spawn(async move {
        signals.received().await;
        stopped.cancel();
    });
    let request = Request { sandbox, role, session_end, registry_url };
    let pause = Box::new(|time| Box::pin(tokio::time::sleep(time)) as _);
    let kit = Kit::new(&config.aws, Arc::new(SystemClock::new()), request, pause).await?;
    let mut is_refuted = false;
    let (cleanup, result) = run_checks(&kit, stop, |outcome| {
        is_refuted |= outcome.verdict == Verdict::Refuted;
        print(outcome, output)
    })
    .await;
    report(&cleanup, output)?;
    result?;
    let is_good = !is_refuted && cleanup.left.is_empty();
    Ok(if is_good { Exit::Success } else { Exit::Failure }.into())
}

fn print(outcome: &Outcome, output: Format) -> anyhow::Result<()> {
    match output {
        Format::Text => print_line(outcome.text()),
        Format::Json => print_line(outcome.json()),
    }
}

fn report(cleanup: &Cleanup, output: Format) -> anyhow::Result<()> {
    if output == Format::Json {
        return print_line(serde_json::json!({ "removed": cleanup.removed, "left": cleanup.left }));
    }
    for (name, code) in &cleanup.left {
        print_error(format_args!("repository {name} is left ({code}); delete it"));
    }
    print_line(format_args!("{} repositories removed, {} left", cleanup.removed.len(), cleanup.left.len()))
}
