//! `policy test`: decisions against a file of expectations.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use serde_json::json;

use super::explain::{describe, nearest_in_words, with_claims};
use crate::bounded_file;
use crate::config::Config;
use crate::policy::Decision;
use crate::registry::ResolvedRegistry;
use crate::terminal::{Format, print_error, print_line};

/// Longest file of expectations, as long as a file of grants.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectations {
    expect: Vec<Expectation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    caller: String,
    /// The other claims of the caller's token.
    #[serde(default)]
    claims: BTreeMap<String, String>,
    registry: String,
    #[serde(default)]
    profile: String,
    allow: bool,
    /// The grant that decides.
    grant: Option<String>,
}

/// Prints the expectations that are not met.
pub(super) fn run(config: &Config, file: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let place = || file.display().to_string();
    let text = bounded_file::read_text(file, MAX_BYTES).with_context(|| format!("cannot read {}", place()))?;
    let Expectations { expect } =
        toml::from_str(&text).map_err(|error| anyhow!("{}: {}", place(), one_line(&text, &error)))?;
    let mut unmet = Vec::new();
    for (index, one) in expect.iter().enumerate() {
        let problem = one.problem(config).with_context(|| format!("{}: expectation {}", place(), index + 1))?;
        unmet.extend(problem.map(|problem| (index + 1, problem)));
    }
    let met = expect.len() - unmet.len();
    match format {
        Format::Json => {
            let unmet: Vec<_> = unmet.iter().map(|(at, why)| json!({ "expectation": at, "problem": why })).collect();
            print_line(json!({ "met": met, "unmet": unmet }))?;
        }
        Format::Text if unmet.is_empty() => print_line(format_args!("{met} expectations are met"))?,
        Format::Text => {
            let line = |(at, why): &(usize, String)| format!("{}: expectation {at} is not met: {why}", place());
            unmet.iter().map(line).for_each(print_error);
        }
    }
    Ok(if unmet.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns a TOML error without the drawing of its place.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

impl Expectation {
    /// Returns the decision if it is not the expected one.
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
        let is_uncovered = matches!(decision, Decision::Deny { grant: None });
        let nearest = is_uncovered.then(|| policy.nearest(&caller, &registry, &self.profile)).flatten();
        let nearest = nearest.map(|near| format!("; {}", nearest_in_words(&near))).unwrap_or_default();
        Ok((!met).then(|| format!("{caller}, {}: {}{nearest}", self.registry, describe(decision))))
    }
}
