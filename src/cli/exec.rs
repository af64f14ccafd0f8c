//! `exec`: runs one command with a temporary docker configuration that names the credential helper.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::process::Command;

use self::docker_config::{DockerConfig, Entries};
use self::workspace::Workspace;
use super::connection_args::ConnectionArgs;
use super::fetch::{Fetched, fetch};
use super::query_args::QueryArgs;
use crate::client::{RegistryCredentials, block_on};
use crate::environment;
use crate::exit_code::Exit;
use crate::helper::registry_auth::HELPER_NAME;

mod child;
mod docker_config;
mod workspace;

const EXAMPLES: &str = "\
Examples:
  ecr-broker exec 123456789012.dkr.ecr.eu-central-1.amazonaws.com -- \\
      docker push 123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app:v1
  ecr-broker exec public.ecr.aws -- ./build.sh
  ecr-broker exec --static public.ecr.aws -- crane manifest public.ecr.aws/docker/library/alpine:3

Exit codes: that of COMMAND, or 128 and the number of the signal that ended it; 127 if it does not exist and 126 if \
it cannot be run. Before COMMAND runs: 3 not an ECR registry, 4 not allowed, 5 retry later, 1 any other failure";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
pub(super) struct Args {
    /// Registry hosts, URLs or image references
    #[arg(required = true, value_name = "REGISTRY")]
    registries: Vec<String>,
    /// Write the credentials into the temporary configuration
    ///
    /// For programs that run no credential helper. They are in $XDG_RUNTIME_DIR, with mode 0600, and expire: a command that runs
    /// for hours needs the helper, or --min-validity.
    #[arg(long = "static")]
    is_static: bool,
    /// Command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, profile) = args.connection.settings()?;
    // As a helper: what COMMAND trusts must not come from another user's program on the default port.
    let settings = settings.without_default_loopback();
    let queries = args.query.queries(&args.registries, &profile);
    let Fetched { credentials, exit } = fetch(&settings, &queries)?;
    if exit != Exit::Success {
        return Ok(exit.into());
    }
    let workspace = Workspace::create(args.is_static)?;
    let command = prepare(args, &workspace, &credentials)?;
    // Nothing but the files of --static holds a password while COMMAND runs.
    drop(credentials);
    block_on(child::run(command))?
}

/// Writes the configuration, and returns the command with the environment that leads to it.
fn prepare(args: &Args, workspace: &Workspace, all: &[RegistryCredentials]) -> anyhow::Result<Command> {
    let source = docker_config::user_directory();
    let entries = if args.is_static { Entries::Static(all) } else { Entries::Helper(all) };
    let DockerConfig { config, delegate } = DockerConfig::build(source.as_deref(), &entries)?;
    workspace.link_other_files(source.as_deref())?;
    workspace.write_config(&config)?;
    let (program, arguments) = args.command.split_first().context("no command; name it after --")?;
    let mut command = Command::new(program);
    command.args(arguments).env("DOCKER_CONFIG", workspace.docker_directory());
    command.env("PATH", path(workspace.link_helper(HELPER_NAME)?)?).envs(args.connection.variables()?);
    args.query.profile().map(|profile| command.env(environment::client_variable("profile"), profile));
    delegate.map(|file| command.env(environment::DELEGATE, file));
    Ok(command)
}

/// Returns the search path with a directory before it.
fn path(first: PathBuf) -> anyhow::Result<OsString> {
    let path = environment::variable("PATH").unwrap_or_default();
    let all = std::iter::once(first).chain(std::env::split_paths(&path).filter(|one| !one.as_os_str().is_empty()));
    std::env::join_paths(all).context("the temporary directory's name contains a colon; set XDG_RUNTIME_DIR to another")
}
