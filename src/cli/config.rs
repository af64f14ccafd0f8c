//! `config`: checks, prints and explains the configuration.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use rustix::process::geteuid;

use super::broker_user::{self, BrokerUser};
use crate::app::auth_material::AuthMaterial;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, AwsFiles, Config, Diagnostic, Files, Sources};
use crate::environment;
use crate::terminal::{print_error, print_line};
use crate::trusted_file;

const EXAMPLES: &str = "\
Examples:
  ecr-broker config example >/etc/ecr-broker/config.toml
  ecr-broker config check --user ecr-broker
  ecr-broker config print -o json | jq -r 'select(.origin != \"default\")'

Exit codes: 0 valid, 1 problems, 2 wrong flags";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Report every problem in the configuration
    Check(File),
    /// Print the effective configuration and each value's origin
    Print(File),
    /// Print an example with every setting explained
    Example,
}

/// The configuration to read.
#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// Configuration file
    #[arg(long, env = "ECR_BROKER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the configuration as serve --allow-loopback does
    #[arg(long)]
    allow_loopback: bool,
    /// Broker's user; judge the owners of files as it does
    ///
    /// A name or ID of /etc/passwd. Without it every owner is accepted, and `config check` warns.
    #[arg(long, value_name = "USER", value_parser = broker_user::parse)]
    user: Option<BrokerUser>,
}

impl File {
    /// Reads the sources. The user who checks a configuration is often another than the broker's, who may own its files.
    pub(super) fn sources(&self) -> Sources {
        match self.user {
            Some(BrokerUser { user, group }) => trusted_file::judge_for(user, group),
            None => trusted_file::accept_any_owner(),
        }
        let environment = environment::variables();
        Sources {
            files: Files::read(self.config.as_deref()),
            activated: Vec::new(),
            aws_files: AwsFiles::read(&environment),
            environment,
            not_utf8: environment::not_utf8(),
            flags: loopback_flag(self.allow_loopback),
        }
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Check(file) => {
            let result = Config::load(&file.sources()).and_then(|config| {
                config.check_region()?;
                let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
                let auth = AuthMaterial::load(&config, &clock)?;
                auth.warnings().iter().for_each(|warning| print_error(format_args!("warning: {warning}")));
                Ok(())
            });
            let for_user = validity_of(file.user);
            if result.is_ok() {
                print_line(format_args!("the configuration is valid{for_user}"))?;
            }
            Ok(report(result))
        }
        Command::Print(file) => {
            let sources = file.sources();
            print_line(config::effective(&sources).trim_end())?;
            Ok(report(Config::load(&sources).map(drop)))
        }
        Command::Example => {
            print_line(config::example().trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Returns for which user a configuration is valid, and warns of owners whose files `serve` reads only as these users.
fn validity_of(user: Option<BrokerUser>) -> String {
    let mut owners = trusted_file::accepted_owners();
    let own = geteuid().as_raw();
    let only = user.map(|user| user.user).or_else(|| owners.remove(&own).map(|_| own));
    for (owner, file) in owners {
        let file = file.display();
        print_error(format_args!(
            "warning: {file} belongs to user {owner}; serve reads it only as this user (see --user)"
        ));
    }
    only.map(|user| format!(" for user {user}")).unwrap_or_default()
}

/// Returns the setting behind `--allow-loopback`.
pub(super) fn loopback_flag(is_set: bool) -> Vec<(&'static str, &'static str, toml::Value)> {
    is_set.then(|| ("authentication.loopback", "--allow-loopback", true.into())).into_iter().collect()
}

/// Prints one line per diagnostic.
pub(super) fn report(result: Result<(), Vec<Diagnostic>>) -> ExitCode {
    let Err(diagnostics) = result else { return ExitCode::SUCCESS };
    diagnostics.iter().for_each(print_error);
    ExitCode::FAILURE
}
