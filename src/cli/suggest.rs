//! `policy suggest`: grants for what an audit log shows.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Deserialize;

use super::{complain, say};
use crate::caller::Caller;
use crate::config::grants_as_toml;
use crate::credential::ProfileName;
use crate::policy::suggest::{Wish, suggest};
use crate::policy::{Decision, Policy};

/// What one line says, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Line {
    kind: String,
    outcome: String,
    caller: String,
    registry: Option<String>,
    #[serde(default)]
    profile: String,
}

/// Prints grants for what the policy does not allow and the log shows as given, or with `denied` as asked for in vain.
pub(super) fn run(policy: &Policy, logs: &[PathBuf], denied: bool) -> anyhow::Result<ExitCode> {
    let (mut wishes, mut unreadable) = (Vec::new(), 0_usize);
    for log in logs {
        for line in lines(log)? {
            match wish(&line.with_context(|| log.display().to_string())?, denied) {
                Ok(wish) => wishes.extend(wish),
                Err(Unreadable) => unreadable += 1,
            }
        }
    }
    let (grants, left) =
        suggest(wishes.into_iter().filter(|(caller, wish)| !is_allowed(policy, caller, wish)).map(|(_, wish)| wish));
    if unreadable > 0 {
        complain(format_args!("{unreadable} audit records cannot be read and are passed over"));
    }
    for wish in &left {
        complain(format_args!(
            "no grant can be suggested for {}: its name or its registry's account is not known well enough",
            wish.caller
        ));
    }
    say(match grants.as_slice() {
        [] => "# Nothing to suggest: the log shows nothing that the grants do not allow.".to_owned(),
        grants => format!(
            "# What the audit log shows and the grants do not allow. Read it before it is put in force.\n{}",
            grants_as_toml(grants).trim_end()
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A record that is none.
struct Unreadable;

fn lines(log: &Path) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>>> {
    let file = std::fs::File::open(log).with_context(|| format!("{} cannot be read", log.display()))?;
    Ok(BufReader::new(file).lines())
}

/// What a line tells of; nothing where it is no audit record, for stderr has others in between, or of another outcome.
fn wish(line: &str, denied: bool) -> Result<Option<(Caller, Wish)>, Unreadable> {
    if !line.contains("\"audit\"") {
        return Ok(None);
    }
    let line: Line = serde_json::from_str(line).map_err(|_| Unreadable)?;
    let counts = match line.outcome.as_str() {
        "released" | "observed" => true,
        "denied" => denied,
        _ => false,
    };
    if line.kind != "audit" || !counts {
        return Ok(None);
    }
    let caller: Caller = line.caller.parse().map_err(|_| Unreadable)?;
    let registry = line.registry.as_deref().and_then(|registry| registry.parse().ok()).ok_or(Unreadable)?;
    let profile = if line.profile.is_empty() { ProfileName::default_profile() } else { line.profile.as_str().into() };
    let wish = Wish { caller: caller.principal(), registry, profile };
    Ok(Some((caller, wish)))
}

fn is_allowed(policy: &Policy, caller: &Caller, wish: &Wish) -> bool {
    let decision = policy.decide(caller, &wish.registry, wish.profile.as_str());
    matches!(decision, Decision::Allow { grant: Some(_) })
}
