//! `policy`: lint grants, say what they decide and why, and hold them to expectations.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Deserialize;

use super::config::{File, report};
use crate::caller::Caller;
use crate::config::Config;
use crate::exit_code::Exit;
use crate::policy::lint::lint;
use crate::policy::{Decision, Policy};
use crate::registry::ResolvedRegistry;
use crate::terminal::{print_error, print_line};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find what is likely to be a mistake in the grants: exit code 1 where there is something
    Check {
        #[command(flatten)]
        file: File,
    },
    /// Say whether a caller may have a registry's credentials, and which grant decides: exit code 0 yes, 4 no
    Explain {
        #[command(flatten)]
        file: File,
        /// Who: uid:1001,gid:1001 (with the user's primary group), loopback, aws-api, spiffe://DOMAIN/PATH, dns:NAME
        /// or jwt:ISSUER:SUBJECT
        #[arg(long)]
        caller: Caller,
        /// What the caller's token claims beside its subject; several times for several claims
        #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
        claims: Vec<(String, String)>,
        /// The profile that is asked for; without one, whichever
        #[arg(long, default_value = "", hide_default_value = true)]
        profile: String,
        /// A registry host, URL or image reference
        registry: String,
    },
    /// Compare what the grants decide with a file of expectations: exit code 1 where one is not met
    Test {
        #[command(flatten)]
        file: File,
        /// TOML with a list of tables named expect: caller, registry, allow = true or false; claims, profile and grant where
        /// they matter
        #[arg(value_name = "FILE")]
        expectations: PathBuf,
    },
    /// Print grants for what audit logs show and the configured grants do not allow
    Suggest {
        #[command(flatten)]
        file: File,
        /// Count what was denied, too; anybody may have asked for that
        #[arg(long)]
        denied: bool,
        /// The log: a file that audit.output named
        #[arg(value_name = "AUDIT", required = true)]
        logs: Vec<PathBuf>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectations {
    expect: Vec<Expectation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    caller: String,
    /// What its token claims beside the subject.
    #[serde(default)]
    claims: BTreeMap<String, String>,
    registry: String,
    #[serde(default)]
    profile: String,
    allow: bool,
    /// The grant that decides.
    grant: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (Command::Check { file }
    | Command::Explain { file, .. }
    | Command::Test { file, .. }
    | Command::Suggest { file, .. }) = &args.command;
    let config = match Config::load(&file.sources()) {
        Ok(config) => config,
        Err(diagnostics) => return Ok(report(Err(diagnostics))),
    };
    match &args.command {
        Command::Check { .. } => check(&config),
        Command::Explain { caller, claims, profile, registry, .. } => {
            let caller = with_claims(caller.clone(), claims.iter().cloned().collect())?;
            explain(&config, &caller, registry, profile)
        }
        Command::Test { expectations, .. } => test(&config, expectations),
        Command::Suggest { denied, logs, .. } => super::suggest::run(&config, logs, *denied),
    }
}

fn check(config: &Config) -> anyhow::Result<ExitCode> {
    let findings = lint(&config.policy, &config.aws.profiles, &config.accepted_identities());
    findings.iter().for_each(print_error);
    if !findings.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    match &config.policy {
        Policy::Open => print_line("there are no grants: whoever may open the socket may have everything")?,
        Policy::Grants(grants) | Policy::Observed(grants) if grants.is_empty() => {
            print_line("there is a list of grants and none in it: nobody may have anything")?;
        }
        Policy::Grants(grants) | Policy::Observed(grants) => {
            print_line(format_args!("{} grants, and nothing odd about them", grants.len()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a claim is NAME=VALUE, such as repository_id=456")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn with_claims(caller: Caller, claims: BTreeMap<String, String>) -> anyhow::Result<Caller> {
    if claims.is_empty() {
        return Ok(caller);
    }
    let problem = || format!("{caller} claims nothing; claims are of callers with tokens, jwt:ISSUER:SUBJECT");
    caller.clone().with_claims(claims).with_context(problem)
}

fn explain(
    Config { policy, aliases, .. }: &Config,
    caller: &Caller,
    registry: &str,
    profile: &str,
) -> anyhow::Result<ExitCode> {
    let ResolvedRegistry { registry, .. } = match aliases.resolve(registry) {
        Ok(named) => named,
        Err(error) => {
            print_error(error);
            return Ok(Exit::NotRegistry.into());
        }
    };
    let decision = policy.decide(caller, &registry, profile);
    print_line(in_words(decision))?;
    if policy.is_observed() && matches!(decision, Decision::Deny { .. }) {
        print_line("but given all the same, and put on record, for policy.mode is \"observe\"")?;
    }
    let exit = if matches!(decision, Decision::Allow { .. }) { Exit::Success } else { Exit::Denied };
    Ok(exit.into())
}

fn in_words(decision: Decision<'_>) -> String {
    match decision {
        Decision::Allow { grant: None } => "allowed: there are no grants, so everybody may have everything".to_owned(),
        Decision::Allow { grant: Some(grant) } => {
            let profile = grant.profile.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("allowed by grant {:?}, with profile {profile:?}", grant.id)
        }
        Decision::Deny { grant: Some(grant) } => format!("denied by grant {:?}", grant.id),
        Decision::Deny { grant: None } => {
            "denied: no grant covers this caller, this registry and this profile".to_owned()
        }
    }
}

fn test(config: &Config, file: &PathBuf) -> anyhow::Result<ExitCode> {
    let place = || file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", place()))?;
    let Expectations { expect } = toml::from_str(&text).with_context(place)?;
    let mut unmet = 0;
    for (index, one) in expect.iter().enumerate() {
        let problem = one.problem(config).with_context(|| format!("{}: expectation {}", place(), index + 1))?;
        if let Some(problem) = problem {
            unmet += 1;
            print_error(format_args!("{}: expectation {}: {problem}", place(), index + 1));
        }
    }
    if unmet > 0 {
        return Ok(ExitCode::FAILURE);
    }
    print_line(format_args!("{} expectations are met", expect.len()))?;
    Ok(ExitCode::SUCCESS)
}

impl Expectation {
    /// What is decided instead.
    fn problem(&self, Config { policy, aliases, .. }: &Config) -> anyhow::Result<Option<String>> {
        let caller = with_claims(self.caller.parse()?, self.claims.clone())?;
        let ResolvedRegistry { registry, .. } = aliases.resolve(&self.registry)?;
        let decision = policy.decide(&caller, &registry, &self.profile);
        let (allowed, grant) = match decision {
            Decision::Allow { grant } => (true, grant),
            Decision::Deny { grant } => (false, grant),
        };
        let same_grant = self.grant.is_none() || self.grant.as_deref() == grant.map(|grant| grant.id.as_str());
        let met = allowed == self.allow && same_grant;
        Ok((!met).then(|| format!("{caller} and {}: {}", self.registry, in_words(decision))))
    }
}
