//! `policy test`: decisions against a file of expectations.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Deserialize;

use super::explain::{describe, with_claims};
use crate::bounded_file;
use crate::config::Config;
use crate::policy::Decision;
use crate::registry::ResolvedRegistry;
use crate::terminal::{print_error, print_line};

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
pub(super) fn run(config: &Config, file: &Path) -> anyhow::Result<ExitCode> {
    let place = || file.display().to_string();
    let text = bounded_file::read_text(file, MAX_BYTES).with_context(|| format!("cannot read {}", place()))?;
    let Expectations { expect } = toml::from_str(&text).with_context(place)?;
    let mut unmet = 0;
    for (index, one) in expect.iter().enumerate() {
        let problem = one.problem(config).with_context(|| format!("{}: expectation {}", place(), index + 1))?;
        if let Some(problem) = problem {
            unmet += 1;
            print_error(format_args!("{}: expectation {} is not met: {problem}", place(), index + 1));
        }
    }
    if unmet > 0 {
        return Ok(ExitCode::FAILURE);
    }
    print_line(format_args!("{} expectations are met", expect.len()))?;
    Ok(ExitCode::SUCCESS)
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
        Ok((!met).then(|| format!("{caller}, {}: {}", self.registry, describe(decision))))
    }
}
