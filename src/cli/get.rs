//! `get`: prints credentials of a running broker.

use std::process::ExitCode;

use super::connection_args::ConnectionArgs;
use super::fetch::{Fetched, fetch, fetch_fresh};
use super::output::{self, OutputFormat, SecretArgs};
use super::query_args::QueryArgs;
use crate::exit_code::Exit;
use crate::terminal::{print_error, print_line};

const EXAMPLES: &str = "\
Examples:
  ecr-broker get 123456789012.dkr.ecr.eu-central-1.amazonaws.com
  ecr-broker get -o password public.ecr.aws | docker login -u AWS --password-stdin public.ecr.aws
  eval \"$(ecr-broker get -o env 123456789012.dkr.ecr.eu-central-1.amazonaws.com)\"
  ecr-broker get --refresh 123456789012.dkr.ecr.eu-central-1.amazonaws.com

Exit codes: 0 all printed, 3 not an ECR registry, 4 not allowed, 5 retry later, 1 any other failure";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Registry hosts, URLs or image references
    #[arg(required = true, value_name = "REGISTRY|IMAGE")]
    registries: Vec<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
    /// Ask for credentials other than the cached ones
    ///
    /// Reports cached credentials as rejected, so that the broker fetches new ones from AWS, and returns the old ones to you no
    /// more. It does so once a minute for a registry and profile; a second --refresh within that minute fails. The old password
    /// stays valid until its own expiry.
    #[arg(long, conflicts_with = "rejected")]
    refresh: bool,
    /// Report a credential that the registry rejected, by its ID, and get another
    ///
    /// The ID is the field `credential_id` of -o json. The broker fetches new credentials only if it still has this one, once a minute.
    #[arg(long, value_name = "ID")]
    rejected: Option<String>,
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
    let mut queries = args.query.queries(&args.registries, &profile);
    let Fetched { credentials, exit } = if args.refresh {
        fetch_fresh(&settings, queries)?
    } else {
        for query in &mut queries {
            query.rejected = args.rejected.clone().unwrap_or_default();
        }
        fetch(&settings, &queries)?
    };
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
    if args.rejected.is_some() && count > 1 {
        return Some("--rejected names the credential of one registry; name one registry".to_owned());
    }
    if args.output != OutputFormat::K8sSecret && args.secret.is_set() {
        return Some("--name and --namespace are for a Kubernetes Secret; add -o k8s-secret".to_owned());
    }
    None
}
