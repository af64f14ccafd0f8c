//! `policy suggest`: grants for what an audit log shows.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Deserialize;

use crate::caller::Caller;
use crate::config::Config;
use crate::credential::ProfileName;
use crate::policy::suggest::{Wish, suggest};
use crate::policy::{Decision, Effect, grants_as_toml};
use crate::registry::Registry;
use crate::terminal::{print_error, print_line};

/// What one record says, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Record {
    kind: String,
    outcome: String,
    caller: String,
    /// The account that was asked for.
    account_id: Option<String>,
    region: Option<String>,
    registry: Option<String>,
    #[serde(default)]
    profile: String,
    /// The grant that decided.
    grant: Option<String>,
}

/// What is read out of the logs.
#[derive(Debug, Default)]
struct Findings {
    wishes: Vec<Wish>,
    /// What no grant can be written for, and why.
    left: BTreeSet<String>,
    unreadable: usize,
}

/// Prints grants for what the configured ones do not allow and the logs show as given, or with `denied` as asked for in vain.
pub(super) fn run(config: &Config, logs: &[PathBuf], denied: bool) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    for log in logs {
        for line in lines(log)? {
            findings.add(&line.with_context(|| log.display().to_string())?, config, denied);
        }
    }
    let Findings { wishes, mut left, unreadable } = findings;
    let (grants, others) = suggest(wishes);
    left.extend(others.iter().map(|wish| format!("{}: a grant would be for others, too", wish.caller)));
    if unreadable > 0 {
        print_error(format_args!("{unreadable} audit records cannot be read and are passed over"));
    }
    for problem in &left {
        print_error(format_args!("no grant is suggested for {problem}"));
    }
    print_line(match grants.as_slice() {
        [] => "# Nothing to suggest: the log shows nothing else that the grants do not allow.".to_owned(),
        grants => {
            let head = "# What the audit log shows and the grants do not allow. Read it before you put it in force.";
            format!("{head}\n{}", grants_as_toml(grants).trim_end())
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn lines(log: &Path) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>>> {
    let file = std::fs::File::open(log).with_context(|| format!("{} cannot be read", log.display()))?;
    Ok(BufReader::new(file).lines())
}

impl Findings {
    /// A log on stderr has other lines in between.
    fn add(&mut self, line: &str, config: &Config, denied: bool) {
        if !line.contains("\"audit\"") {
            return;
        }
        let Ok(record) = serde_json::from_str::<Record>(line) else {
            self.unreadable += 1;
            return;
        };
        let counts = match record.outcome.as_str() {
            "released" | "observed" => true,
            "denied" => denied,
            _ => false,
        };
        if record.kind != "audit" || !counts {
            return;
        }
        match record.wish(config) {
            Ok(wish) => self.wishes.extend(wish),
            Err(problem) => _ = self.left.insert(problem),
        }
    }
}

impl Record {
    /// What it shows that the configured grants do not allow, if anything.
    fn wish(&self, config: &Config) -> Result<Option<Wish>, String> {
        let grant = self.grant.as_ref().and_then(|id| config.policy.grants().iter().find(|grant| grant.id == *id));
        match grant.map(|grant| grant.effect) {
            // By claims of its token, perhaps, which the record does not have.
            Some(Effect::Allow) => return Ok(None),
            Some(Effect::Deny) => return Err(self.because("a grant denies it, and denials win")),
            None => {}
        }
        let Ok(caller) = self.caller.parse::<Caller>() else { return Err(self.because("that is no caller")) };
        let Some(registry) = self.registry.as_deref().and_then(|registry| registry.parse::<Registry>().ok()) else {
            return Err(self.because(NO_ACCOUNT));
        };
        if registry.account().is_some() && self.account_id.is_none() {
            return Err(self.because(NO_ACCOUNT));
        }
        let profile = if self.profile.is_empty() { "default" } else { &self.profile };
        let profile = ProfileName::from(profile);
        let known = config.aws.profiles.iter().any(|one| one.name == profile);
        if !known && profile != ProfileName::default_profile() {
            return Err(self.because("there is no such profile"));
        }
        if let Decision::Allow { grant: Some(_) } = config.policy.decide(&caller, &registry, profile.as_str()) {
            return Ok(None);
        }
        Ok(Some(Wish { caller: caller.principal(), registry, profile }))
    }

    fn because(&self, problem: &str) -> String {
        let registry = self.registry.as_deref().or(self.region.as_deref()).unwrap_or_default();
        format!("{}, {registry}, profile {:?}: {problem}", self.caller, self.profile)
    }
}

const NO_ACCOUNT: &str = "it names no account, for which a grant has to be for every account (accounts = [\"*\"])";
