//! The command line.

#![allow(clippy::doc_markdown, reason = "doc comments here are help texts, not Markdown")]

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::terminal::{print_error, print_line};

#[cfg(feature = "server")]
mod config;
#[cfg(feature = "client")]
mod configure;
#[cfg(feature = "client")]
mod connection;
#[cfg(feature = "client")]
mod doctor;
#[cfg(feature = "client")]
mod get;
#[cfg(feature = "client")]
mod helper;
#[cfg(feature = "client")]
mod output;
#[cfg(feature = "server")]
mod policy;
#[cfg(feature = "client")]
mod probe;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "simulator")]
mod simulate;
#[cfg(all(feature = "server", feature = "simulator"))]
mod simulation;
#[cfg(feature = "server")]
mod suggest;
#[cfg(feature = "client")]
mod sync;
#[cfg(feature = "client")]
mod watch;
#[cfg(feature = "client")]
mod watch_args;
#[cfg(feature = "client")]
mod whoami;

/// What `--version` prints after the name.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("ECR_BROKER_COMMIT"),
    "; features: ",
    env!("ECR_BROKER_FEATURES"),
    ")"
);

/// Hands out Amazon ECR registry credentials over gRPC: cached, coalesced, refreshed ahead.
#[derive(Debug, Parser)]
#[command(name = "ecr-broker", version = VERSION, arg_required_else_help = true, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker
    #[cfg(feature = "server")]
    Serve(serve::Args),
    /// Run the simulated AWS alone: ECR, ECR Public and STS over their real protocols, for tests
    #[cfg(feature = "simulator")]
    SimulateAws(simulate::Args),
    /// Ask a running broker for credentials
    #[cfg(feature = "client")]
    Get(get::Args),
    /// Keep a file of logins fresh that docker or podman read, for jobs that can ask nobody
    #[cfg(feature = "client")]
    Sync(sync::Args),
    /// Follow the credentials of registries: a line of JSON for each refresh
    #[cfg(feature = "client")]
    Watch(watch::Args),
    /// Configure docker, podman, kubelet or Bazel
    ///
    /// Each tool then asks the broker for registry credentials.
    #[cfg(feature = "client")]
    Configure(configure::Args),
    /// Answer credential requests of docker, kubelet or Bazel
    ///
    /// Reads one request from stdin in the tool's own protocol and prints the answer.
    #[cfg(feature = "client")]
    Helper(helper::Args),
    /// Walk from this machine's settings to the registry, and say where the way ends and what to do about it
    #[cfg(feature = "client")]
    Doctor(doctor::Args),
    /// Check a running broker's health: exit code 0 when it serves, 1 when not
    #[cfg(feature = "client")]
    Probe(probe::Args),
    /// Say who the broker takes you for, how that was proved, and which grants are about you
    #[cfg(feature = "client")]
    Whoami(whoami::Args),
    /// Check or print the broker's configuration
    #[cfg(feature = "server")]
    Config(config::Args),
    /// Lint grants, explain what they decide, hold them to expectations
    #[cfg(feature = "server")]
    Policy(policy::Args),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command that was typed.
#[must_use]
pub fn main() -> ExitCode {
    #[cfg(feature = "client")]
    if let Some(code) = helper::run_by_program_name() {
        return code;
    }
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            print_error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        #[cfg(feature = "server")]
        Command::Serve(args) => serve::run(&args),
        #[cfg(feature = "simulator")]
        Command::SimulateAws(args) => simulate::run(&args),
        #[cfg(feature = "client")]
        Command::Get(args) => get::run(&args),
        #[cfg(feature = "client")]
        Command::Sync(args) => sync::run(&args),
        #[cfg(feature = "client")]
        Command::Watch(args) => watch::run(&args),
        #[cfg(feature = "client")]
        Command::Configure(args) => configure::run(args),
        #[cfg(feature = "client")]
        Command::Helper(args) => Ok(helper::run(args)),
        #[cfg(feature = "client")]
        Command::Doctor(args) => doctor::run(args),
        #[cfg(feature = "client")]
        Command::Probe(args) => probe::run(&args),
        #[cfg(feature = "client")]
        Command::Whoami(args) => whoami::run(&args),
        #[cfg(feature = "server")]
        Command::Config(args) => config::run(args),
        #[cfg(feature = "server")]
        Command::Policy(args) => policy::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ecr-broker", &mut script);
            print_line(String::from_utf8(script)?.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_well_formed() {
        Cli::command().debug_assert();
    }
}
