//! `get`: prints credentials of a running broker.

use std::process::ExitCode;

use super::connection_args::ConnectionArgs;
use super::fetch::{Fetched, fetch};
use super::output::{self, OutputFormat, SecretArgs};
use super::query_args::QueryArgs;
use crate::exit_code::Exit;
use crate::protocol::MAX_REQUESTS;
use crate::terminal::{print_error, print_line};

const EXAMPLES: &str = "\
Examples:
  ecr-broker get 123456789012.dkr.ecr.eu-central-1.amazonaws.com
  ecr-broker get -o password public.ecr.aws | docker login -u AWS --password-stdin public.ecr.aws
  eval \"$(ecr-broker get -o env 123456789012.dkr.ecr.eu-central-1.amazonaws.com)\"";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Registry hosts, URLs or image references
    #[arg(required = true, value_name = "REGISTRY|IMAGE")]
    registries: Vec<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(problem) = usage_error(args) {
        print_error(problem);
        return Ok(Exit::Usage.into());
    }
    let (settings, profile) = args.connection.settings()?;
    let queries = args.query.queries(&args.registries, &profile);
    let Fetched { credentials, exit } = fetch(&settings, &queries)?;
    // A file without some of its registries must not replace a complete one.
    let is_file = matches!(args.output, OutputFormat::DockerConfig | OutputFormat::K8sSecret);
    if !credentials.is_empty() && (exit == Exit::Success || !is_file) {
        print_line(output::render(args.output, &args.secret, &credentials)?)?;
    }
    Ok(exit.into())
}

fn usage_error(args: &Args) -> Option<String> {
    let count = args.registries.len();
    if args.output == OutputFormat::Env && count > 1 {
        return Some("-o env sets the variables of one registry; name one registry".to_owned());
    }
    (count > MAX_REQUESTS).then(|| format!("{count} registries are too many for one call; name at most {MAX_REQUESTS}"))
}
