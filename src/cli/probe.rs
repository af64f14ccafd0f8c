//! `probe`: the health check of a container or a script.

use std::process::ExitCode;

use super::connection_args::ConnectionArgs;
use crate::client::{Client, block_on};
use crate::terminal::print_error;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Health service to check; empty for the process
    ///
    /// ecrbroker.v1.RegistryCredentialsService is serving while the broker can release credentials; config is serving while every
    /// configuration file is in effect.
    #[arg(long, default_value = "", hide_default_value = true)]
    service: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, _) = args.connection.settings()?;
    let serving = block_on(async {
        let mut client = Client::connect(&settings).await?;
        client.is_serving(&args.service).await
    })?;
    match serving {
        Ok(true) => return Ok(ExitCode::SUCCESS),
        Ok(false) => print_error("the broker is not serving; ecr-broker doctor says why"),
        Err(failure) => print_error(failure),
    }
    Ok(ExitCode::FAILURE)
}
