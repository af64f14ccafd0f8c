//! `whoami`: prints the caller's identity as the broker sees it.

use std::process::ExitCode;

use super::connection_args::ConnectionArgs;
use crate::client::{Client, GetCallerIdentityResponse, block_on, grants_text};
use crate::exit_code::Exit;
use crate::quoted::Visible;
use crate::terminal::{print_error, print_line};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
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
            print_line(text(&identity))?;
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
