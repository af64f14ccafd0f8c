//! `login`: logs docker, podman or helm in to one registry, with the password on the tool's stdin.

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;

use super::connection_args::ConnectionArgs;
use super::fetch::{Fetched, fetch};
use super::query_args::QueryArgs;
use crate::client::RegistryCredentials;
use crate::exit_code::{Exit, of_command};

const EXAMPLES: &str = "\
Examples:
  ecr-broker login docker 123456789012.dkr.ecr.eu-central-1.amazonaws.com
  ecr-broker login podman public.ecr.aws -- --authfile /run/job/auth.json
  ecr-broker login helm 123456789012.dkr.ecr.eu-central-1.amazonaws.com

The login ends with the credentials, within 12 hours. configure and exec need no login.

Exit codes: that of the tool. Before it runs: 3 not an ECR registry, 4 not allowed, 5 retry later, 1 any other \
failure";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Tool to log in
    #[arg(value_enum)]
    tool: Tool,
    /// Registry host, URL or image reference
    registry: String,
    /// More arguments for the tool's login command
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Tool {
    /// docker login
    Docker,
    /// podman login, for buildah and skopeo too
    Podman,
    /// helm registry login
    Helm,
}

impl Tool {
    /// Returns the command that reads a password on stdin.
    fn login(self) -> Command {
        let (program, words): (_, &[&str]) = match self {
            Self::Docker => ("docker", &["login"]),
            Self::Podman => ("podman", &["login"]),
            Self::Helm => ("helm", &["registry", "login"]),
        };
        let mut command = Command::new(program);
        command.args(words);
        command
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, profile) = args.connection.settings()?;
    let queries = args.query.queries(std::slice::from_ref(&args.registry), &profile);
    let Fetched { credentials, exit } = fetch(&settings.without_default_loopback(), &queries)?;
    match credentials.first() {
        Some(credentials) if exit == Exit::Success => log_in(args, credentials),
        _ => Ok(exit.into()),
    }
}

fn log_in(args: &Args, credentials: &RegistryCredentials) -> anyhow::Result<ExitCode> {
    let mut command = args.tool.login();
    command.args(["--username", &credentials.username, "--password-stdin"]).args(&args.arguments);
    command.arg(&credentials.registry).stdin(Stdio::piped());
    let program = command.get_program().display().to_string();
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let mut stdin = child.stdin.take().context("the tool has no stdin")?;
    match stdin.write_all(credentials.password.as_bytes()) {
        // The tool ended without reading it, and says why.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(error).with_context(|| format!("cannot write to {program}"));
        }
        _ => drop(stdin),
    }
    Ok(of_command(child.wait()?))
}
