//! `policy`: lint, explain, test, suggest and tighten grants.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::config::{File, report};
use crate::caller::Caller;
use crate::config::Config;
use crate::policy::Policy;
use crate::policy::lint::lint;
use crate::terminal::{Format, print_error, print_line};

mod expectations;
mod explain;
mod suggest;
mod tighten;

const EXAMPLES: &str = "\
Examples:
  ecr-broker policy check
  ecr-broker policy explain --caller uid:7,gid:7 123456789012.dkr.ecr.eu-central-1.amazonaws.com
  ecr-broker policy test --config broker.toml expectations.toml
  ecr-broker policy suggest --denied /var/log/ecr-broker/audit.jsonl
  ecr-broker policy tighten audit.jsonl --cloudtrail trail/*.json.gz

Exit codes: 0 no finding, allowed or met, 1 findings, unmet expectations or no audit record, 2 wrong flags, 3 not an \
ECR registry, 4 denied";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Output of a command.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Output {
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
enum Command {
    /// Find likely mistakes in the grants
    ///
    /// Exit code: 0 without findings, else 1.
    Check {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
    },
    /// Explain which grant decides a request
    ///
    /// With --operator: whether the caller may read the broker's status. Exit code: 0 if the request is allowed, 4 if it is
    /// denied, 3 if REGISTRY is not an ECR registry.
    Explain {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
        /// Caller in the format of whoami and the logs
        ///
        /// One of uid:1001,gid:1001 (the user's primary group), loopback, aws-api, spiffe://DOMAIN/PATH, dns:NAME and
        /// jwt:ISSUER:SUBJECT (the issuer's name in the configuration).
        #[arg(long)]
        caller: Caller,
        /// Claim of the caller's token; can be repeated
        #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = explain::parse_claim)]
        claims: Vec<(String, String)>,
        /// Requested profile; default: the profile of the grant that decides
        #[arg(long, default_value = "", hide_default_value = true)]
        profile: String,
        /// Explain whether the caller is an operator
        #[arg(long, conflicts_with_all = ["registry", "profile"])]
        operator: bool,
        /// Registry host, URL or image reference
        #[arg(required_unless_present = "operator")]
        registry: Option<String>,
    },
    /// Compare the grants' decisions with expectations
    ///
    /// Exit code: 0 if all expectations are met, else 1.
    Test {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
        /// TOML file with `[[expect]]` tables
        ///
        /// Each table has caller, registry and allow (true or false), and optionally claims, profile and grant.
        #[arg(value_name = "FILE")]
        expectations: PathBuf,
    },
    /// Print grants for audited requests that no grant allows
    Suggest {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
        /// Include denied requests; review them, as any caller can cause one
        #[arg(long)]
        denied: bool,
        /// Audit logs (setting audit.output), also gzipped; - is stdin
        #[arg(value_name = "AUDIT", required = true)]
        logs: Vec<PathBuf>,
    },
    /// Print tighter grants and profiles for what was used
    ///
    /// Grants get the registries that were released, and profiles the access and the repositories of the calls in CloudTrail. The
    /// records are replayed against the proposal. A proposal of the first four fifths of the time is tried on the rest, too.
    Tighten {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
        /// Log files of CloudTrail with the calls to ECR, also gzipped
        #[arg(long, value_name = "FILE", num_args = 1..)]
        cloudtrail: Vec<PathBuf>,
        /// Audit logs (setting audit.output), also gzipped; - is stdin
        #[arg(value_name = "AUDIT", required = true)]
        logs: Vec<PathBuf>,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (Command::Check { file, output }
    | Command::Explain { file, output, .. }
    | Command::Test { file, output, .. }
    | Command::Suggest { file, output, .. }
    | Command::Tighten { file, output, .. }) = &args.command;
    let config = match Config::load(&file.sources()) {
        Ok(config) => config,
        Err(diagnostics) => return Ok(report(Err(diagnostics))),
    };
    match &args.command {
        Command::Check { .. } => check(&config, output.format),
        Command::Explain { caller, claims, profile, registry, .. } => {
            let caller = explain::with_claims(caller.clone(), claims.iter().cloned().collect())?;
            match registry {
                Some(registry) => explain::run(&config, &caller, (registry, profile), output.format),
                None => explain::operator(&config.policy, &caller, output.format),
            }
        }
        Command::Test { expectations, .. } => expectations::run(&config, expectations, output.format),
        Command::Suggest { denied, logs, .. } => suggest::run(&config, logs, *denied, output.format),
        Command::Tighten { cloudtrail, logs, .. } => tighten::run(&config, logs, cloudtrail, output.format),
    }
}

fn check(config: &Config, format: Format) -> anyhow::Result<ExitCode> {
    let findings = lint(&config.policy, &config.profiles(), &config.accepted_identities());
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    match format {
        Format::Json => {
            let grants = config.policy.grants().len();
            print_line(json!({ "policy": name(&config.policy), "grants": grants, "findings": findings }))?;
        }
        Format::Text if findings.is_empty() => print_line(summary(&config.policy))?,
        Format::Text => findings.iter().for_each(print_error),
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn name(policy: &Policy) -> &'static str {
    match policy {
        Policy::Open => "open",
        Policy::Grants(_) => "enforce",
        Policy::Observed(_) => "observe",
    }
}

fn summary(policy: &Policy) -> String {
    match policy {
        Policy::Open => "no grants are configured: every authenticated caller may have every registry".to_owned(),
        Policy::Grants(grants) | Policy::Observed(grants) => match grants.len() {
            0 => "the list of grants is empty: every request is denied".to_owned(),
            1 => "1 grant, no findings".to_owned(),
            several => format!("{several} grants, no findings"),
        },
    }
}
