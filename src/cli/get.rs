//! `get`: ask a broker, print what it says.

use std::process::ExitCode;
use std::time::Duration;

use super::connection::Connection;
use super::output::{self, Format, SecretName};
use crate::client::{Client, Failure, Query, RegistryCredentials, Settings, block_on};
use crate::exit_code::Exit;
use crate::protocol::MAX_REQUESTS;
use crate::terminal::{print_error, print_line};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Registry hosts, URLs or image references
    #[arg(required = true, value_name = "REGISTRY|IMAGE")]
    registries: Vec<String>,
    /// How to print the credentials
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    secret: SecretName,
    /// The profile to mint them with
    #[arg(long, env = "ECR_BROKER_PROFILE")]
    profile: Option<String>,
    /// How long they must still last, such as 3h
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    min_validity: Option<Duration>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.output == Format::Env && args.registries.len() > 1 {
        print_error("-o env is for one registry: of several, each would take the place of the one before");
        return Ok(Exit::Usage.into());
    }
    if args.registries.len() > MAX_REQUESTS {
        print_error(format_args!(
            "{} registries are too many for one call; at most {MAX_REQUESTS}",
            args.registries.len()
        ));
        return Ok(Exit::Usage.into());
    }
    let (settings, profile) = args.connection.settings()?;
    let profile = args.profile.clone().unwrap_or(profile);
    let results = match block_on(ask(args, &settings, &profile))? {
        Ok(results) => results,
        Err(failure) => {
            print_error(&failure);
            return Ok(Exit::from(&failure).into());
        }
    };
    let mut code = ExitCode::SUCCESS;
    let mut found = Vec::new();
    for (registry, result) in args.registries.iter().zip(results) {
        match result {
            Ok(credentials) => found.push(credentials),
            Err(failure) => {
                print_error(format_args!("{registry}: {failure}"));
                if code == ExitCode::SUCCESS {
                    code = Exit::from(&failure).into();
                }
            }
        }
    }
    // Files of which a part is missing would take the place of whole ones.
    let whole = matches!(args.output, Format::DockerConfig | Format::K8sSecret);
    if !found.is_empty() && (code == ExitCode::SUCCESS || !whole) {
        print_line(output::render(args.output, &args.secret, &found)?)?;
    }
    Ok(code)
}

async fn ask(
    args: &Args,
    settings: &Settings,
    profile: &str,
) -> Result<Vec<Result<RegistryCredentials, Failure>>, Failure> {
    let mut client = Client::connect(settings).await?;
    let query = |registry: &String| Query {
        registry: registry.clone(),
        profile: profile.to_owned(),
        min_validity: args.min_validity,
    };
    client.credentials(&args.registries.iter().map(query).collect::<Vec<_>>()).await
}
