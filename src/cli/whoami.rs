//! `whoami`: who the broker takes one for.

use std::process::ExitCode;

use super::connection::Connection;
use crate::client::{Client, GetCallerIdentityResponse, block_on};
use crate::exit_code::Exit;
use crate::terminal::{print_error, print_line};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, _) = args.connection.settings()?;
    let identity = block_on(async {
        let client = Client::connect(&settings).await?;
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
    let grants = match identity.grant_ids.as_slice() {
        [] if !identity.grants_configured => "none are configured: everybody may have everything".to_owned(),
        [] => "none is about you: you may have nothing".to_owned(),
        ids => ids.join(", "),
    };
    format!("principal  {}\nproof      {}\ngrants     {grants}", identity.principal, identity.proof)
}
