//! `config`: checks, prints and explains the configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use super::broker_user::{self, BrokerUser};
use crate::app::auth_material::AuthMaterial;
use crate::app::preflight::Preflight;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, AwsFiles, Config, DEFAULT_FILE, Diagnostic, Files, Sources};
use crate::environment;
use crate::terminal::{Format, print_error, print_line};

mod roles;

const EXAMPLES: &str = "\
Examples:
  ecr-broker config example >/etc/ecr-broker/config.toml
  ecr-broker config check --user ecr-broker
  ecr-broker config check --roles
  ecr-broker config diff /etc/ecr-broker/config.toml new.toml
  ecr-broker config print -o json | jq -r 'select(.origin != \"default\")'

Exit codes: 0 valid, 1 problems, 2 wrong flags";

mod diff;

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Report every problem in the configuration
    ///
    /// Also of the files that it names, and of the directories of sockets and the audit log. Nothing is created. The last line names
    /// the file that was read.
    Check {
        #[command(flatten)]
        file: File,
        /// Print the trust policies and sizes of profiles' sessions
        ///
        /// For each role of each profile: what assumes it, the actions that both policies must allow, and its trust policy. For each
        /// profile: the length of the longest session policy, and the estimated share of STS's room for policy and tags.
        #[arg(long)]
        roles: bool,
    },
    /// Print the effective configuration and each value's origin
    Print {
        #[command(flatten)]
        file: File,
        /// Output format; JSON has a line per setting
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Show what a new configuration changes for whom
    ///
    /// Names each profile, issuer, alias, grant and setting that differs, the callers and registries that it concerns, what the broker
    /// drops from memory when it reloads, and what needs a restart. Secrets are hidden.
    Diff(diff::Args),
    /// Print an example with every setting explained
    Example,
}

/// The configuration to read.
#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// Configuration file; default: /etc/ecr-broker/config.toml if it exists
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
    /// Reads the sources.
    pub(super) fn sources(&self) -> Sources {
        broker_user::judge_files_as(self.user);
        sources_of(config::file_to_read(self.config.as_deref()).as_deref(), self.allow_loopback)
    }
}

/// Reads a file and the environment.
fn sources_of(file: Option<&Path>, allow_loopback: bool) -> Sources {
    let environment = environment::variables();
    Sources {
        files: Files::read(file),
        activated: Vec::new(),
        aws_files: AwsFiles::read(&environment),
        environment,
        not_utf8: environment::not_utf8(),
        flags: loopback_flag(allow_loopback),
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Check { file, roles } => {
            let sources = file.sources();
            let config = Config::load(&sources);
            if let (true, Ok(config)) = (roles, &config) {
                roles::describe(&config.aws.profiles).iter().try_for_each(print_line)?;
            }
            let result = config.and_then(|config| check(&config));
            let for_user = validity_of(file.user);
            if result.is_ok() {
                print_line(format_args!("the configuration is valid{for_user} ({})", what_was_read(&sources.files)))?;
            }
            Ok(report(result))
        }
        Command::Print { file, output } => {
            let sources = file.sources();
            match output {
                Format::Text => print_line(config::effective(&sources).trim_end())?,
                Format::Json => config::effective_json(&sources).iter().try_for_each(print_line)?,
            }
            Ok(report(Config::load(&sources).map(drop)))
        }
        Command::Diff(args) => {
            Ok(report(diff::run(&args, |file, allow_loopback| sources_of(Some(file), allow_loopback))?))
        }
        Command::Example => {
            print_line(config::example().trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Checks what `serve` needs beside valid settings, and prints warnings.
fn check(config: &Config) -> Result<(), Vec<Diagnostic>> {
    config.check_region()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let auth = AuthMaterial::load(config, &clock);
    let Preflight { mut errors, mut warnings } = Preflight::check(config);
    match auth {
        Ok(auth) => warnings.extend(auth.warnings()),
        Err(problems) => errors.extend(problems),
    }
    let of_roles = roles::warnings(&config.aws.profiles);
    for warning in warnings.iter().map(ToString::to_string).chain(of_roles) {
        print_error(format_args!("warning: {warning}"));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn what_was_read(files: &Files) -> String {
    match files.name() {
        none if none.is_empty() => {
            format!("no file was read: {DEFAULT_FILE} does not exist; defaults and environment only")
        }
        name => name,
    }
}

/// Returns for which user a configuration is valid.
fn validity_of(user: Option<BrokerUser>) -> String {
    let owner = broker_user::warn_of_owners();
    let only = user.map(|user| user.user).or(owner);
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
