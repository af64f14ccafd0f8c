//! `audit`: answers from the audit log.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::bail;
use clap::Subcommand;

use self::found::Found;
use super::config::{File, report};
use crate::audit::live::{CallerQuery, LiveCredentials, Selection};
use crate::audit::reader::Extent;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::exit_code::Exit;
use crate::registry::Aliases;
use crate::terminal::{Format, print_error};

mod contain;
mod found;
mod live;
mod logs;
mod who;

pub(super) use self::logs::{print_damaged, without_records};

const EXAMPLES: &str = "\
Examples:
  ecr-broker audit live
  ecr-broker audit live --caller 'jwt:github:repo:example/app:*' -o json /srv/audit/*.jsonl
  journalctl -u ecr-broker -o cat | ecr-broker audit live --at 2026-11-30T22:00:00Z -
  ecr-broker audit contain --caller uid:1001
  ecr-broker audit who <leaked.txt

Exit codes: 0 answered, 1 no audit record, not readable or a password without holders, 2 wrong flags, \
3 not an ECR registry";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the credentials that are still valid, and their holders
    ///
    /// A record of a broker that did not write the expiry counts for 12 hours. Damaged records are named on stderr.
    Live(Query),
    /// Print the IAM policy that ends the sessions behind them
    ///
    /// The text is a shell script with comments: review it, and run it with rights in the account of each role. It changes nothing
    /// by itself. The comments name what the policy does not reach.
    Contain(Query),
    /// Name the callers that received a leaked password
    ///
    /// Reads the password, or a text that has it, from stdin: a docker configuration, a `docker login` line, a Basic header, a URL
    /// or a line of a log. It is never an argument, and no output has it. Prints the credential, its holders, and the IAM
    /// statements that deny its session alone, or all sessions of its role, with the callers that each hits. An index beside each
    /// log, which grows with it, makes the answer quick.
    Who(who::Args),
    /// Index the audit logs, so that audit who reads less
    Index(who::Logs),
}

/// The credentials to look for, and where.
#[derive(Debug, clap::Args)]
struct Query {
    #[command(flatten)]
    file: File,
    /// Caller, as the log names it; a * at the end stands for the rest
    ///
    /// uid:1001 is the user with any group.
    #[arg(long)]
    caller: Option<CallerQuery>,
    /// Registry host, URL, image reference or alias
    #[arg(long)]
    registry: Option<String>,
    /// Time at which the credentials are valid; default: now
    ///
    /// As in 2026-11-30T22:00:00Z. Later releases do not count then.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<SystemTime>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Audit logs, also gzipped; - is stdin; default: the file of audit.output and its rotated ones
    #[arg(value_name = "FILE")]
    logs: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let now = SystemClock::new().now().wall;
    match &args.command {
        Command::Live(query) | Command::Contain(query) => answer(&args.command, query, now),
        Command::Who(args) => who::run(args, now),
        Command::Index(logs) => who::index(logs),
    }
}

fn answer(command: &Command, query: &Query, now: SystemTime) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&query.file.sources()) {
        Ok(config) => config,
        Err(diagnostics) => return Ok(report(Err(diagnostics))),
    };
    let selection = match query.selection(&config.aliases) {
        Ok(selection) => selection,
        Err(error) => {
            print_error(error);
            return Ok(Exit::NotRegistry.into());
        }
    };
    let found = query.find(&config, selection, query.at.unwrap_or(now))?;
    print_damaged(&found.read);
    match command {
        Command::Contain(_) => contain::print(&found, now, query.output)?,
        _ => live::print(&found, query.output)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Query {
    fn selection(&self, aliases: &Aliases) -> Result<Selection, crate::registry::RegistryError> {
        let registry = self.registry.as_deref().map(|text| aliases.resolve(text)).transpose()?;
        let (registry, alias) = registry.map_or((None, None), |one| (Some(one.registry), one.alias));
        Ok(Selection {
            caller: self.caller.clone(),
            registry,
            alias: alias.map(|alias| alias.to_string()),
            until: self.at,
        })
    }

    /// Reads the logs. One without records is a failure: it would look like one without valid credentials.
    fn find(&self, config: &Config, selection: Selection, at: SystemTime) -> anyhow::Result<Found> {
        let logs = if self.logs.is_empty() { logs::configured(config.audit.as_ref(), at)? } else { self.logs.clone() };
        let mut live = LiveCredentials::new(at, selection);
        let read = Extent::read(&logs, |record| live.add(record))?;
        if read.records == 0 {
            print_damaged(&read);
            bail!("{}", without_records(&read, &logs));
        }
        Ok(Found { at, read, held: live.finish().map_err(anyhow::Error::msg)? })
    }
}

/// Parses a time of RFC 3339 in UTC.
fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(text).map_err(|error| format!("{error}; write 2026-11-30T22:00:00Z"))
}
