//! `policy explain`: the decision on one request.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::caller::Caller;
use crate::config::Config;
use crate::exit_code::Exit;
use crate::policy::{Decision, Policy};
use crate::registry::ResolvedRegistry;
use crate::terminal::{print_error, print_line};

/// Prints the decision on a request.
pub(super) fn run(
    Config { policy, aliases, .. }: &Config,
    caller: &Caller,
    registry: &str,
    profile: &str,
) -> anyhow::Result<ExitCode> {
    let ResolvedRegistry { registry, .. } = match aliases.resolve(registry) {
        Ok(resolved) => resolved,
        Err(error) => {
            print_error(error);
            return Ok(Exit::NotRegistry.into());
        }
    };
    let decision = policy.decide(caller, &registry, profile);
    print_line(describe(decision))?;
    if policy.is_observed() && matches!(decision, Decision::Deny { .. }) {
        print_line("policy.mode is \"observe\": the request is served and recorded")?;
    }
    let exit = if matches!(decision, Decision::Allow { .. }) { Exit::Success } else { Exit::Denied };
    Ok(exit.into())
}

/// Prints whether the caller may read the broker's status, and why.
pub(super) fn operator(policy: &Policy, caller: &Caller) -> anyhow::Result<ExitCode> {
    let (text, exit) = match policy.operator_grant(caller) {
        Some(grant) => (format!("operator by grant {:?}", grant.id), Exit::Success),
        None => ("not an operator: no grant with operator = true has this caller".to_owned(), Exit::Denied),
    };
    print_line(text)?;
    print_line("root and the broker's own user are operators over the Unix socket without a grant")?;
    Ok(exit.into())
}

/// Describes a decision and the grant that made it.
pub(super) fn describe(decision: Decision<'_>) -> String {
    match decision {
        Decision::Allow { grant: None } => "allowed: no grants are configured".to_owned(),
        Decision::Allow { grant: Some(grant) } => {
            let profile = grant.profile.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("allowed by grant {:?}, with profile {profile:?}", grant.id)
        }
        Decision::Deny { grant: Some(grant) } => format!("denied by grant {:?}", grant.id),
        Decision::Deny { grant: None } => "denied: no grant covers this caller, registry and profile".to_owned(),
    }
}

/// Parses `NAME=VALUE`.
pub(super) fn parse_claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as repository_id=456")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Returns the caller with claims in its token.
pub(super) fn with_claims(caller: Caller, claims: BTreeMap<String, String>) -> anyhow::Result<Caller> {
    if claims.is_empty() {
        return Ok(caller);
    }
    let problem = || format!("{caller} has no claims; name the caller of a token, jwt:ISSUER:SUBJECT");
    caller.clone().with_claims(claims).with_context(problem)
}
