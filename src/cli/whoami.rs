//! `whoami`: prints the caller's identity as the broker sees it.

use std::process::ExitCode;

use serde_json::json;

use super::connection_args::ConnectionArgs;
use crate::client::{Client, GetCallerIdentityResponse, block_on, grants_text};
use crate::exit_code::Exit;
use crate::quoted::Visible;
use crate::terminal::{Format, print_error, print_line};

const EXAMPLES: &str = "\
Examples:
  ecr-broker whoami
  ecr-broker whoami -o json | jq -r .principal

Exit codes: 0 identified, 4 not authenticated, 5 no answer";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, _) = args.connection.settings()?;
    let identity = block_on(async {
        let mut client = Client::connect(&settings).await?;
        client.caller_identity().await
    })?;
    match identity {
        Ok(identity) => {
            match args.output {
                Format::Text => print_line(text(&identity))?,
                Format::Json => print_line(json(&identity))?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            print_error(&failure);
            Ok(Exit::from(&failure).into())
        }
    }
}

fn text(identity: &GetCallerIdentityResponse) -> String {
    let GetCallerIdentityResponse { principal, proof, .. } = identity;
    let grants = grants_text(identity);
    format!("principal  {}\nproof      {}\ngrants     {}", Visible(principal), Visible(proof), Visible(&grants))
}

fn json(identity: &GetCallerIdentityResponse) -> String {
    let GetCallerIdentityResponse { principal, proof, grant_ids, grants_configured, .. } = identity;
    json!({ "principal": principal, "proof": proof, "grants": grant_ids, "grants_configured": grants_configured })
        .to_string()
}
