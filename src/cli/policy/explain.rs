//! `policy explain`: the decision on one request.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::config::Config;
use crate::credential::ProfileName;
use crate::exit_code::Exit;
use crate::policy::{Decision, NearMiss, Policy};
use crate::registry::ResolvedRegistry;
use crate::terminal::{Format, print_error, print_line};

/// Prints the decision on a request for a registry and a profile. A denial names the nearest grant and what differs.
pub(super) fn run(
    config: &Config,
    caller: &Caller,
    (registry, profile): (&str, &str),
    format: Format,
) -> anyhow::Result<ExitCode> {
    let ResolvedRegistry { registry, .. } = match config.aliases.resolve(registry) {
        Ok(resolved) => resolved,
        Err(error) => {
            print_error(error);
            return Ok(Exit::NotRegistry.into());
        }
    };
    let decision = config.policy.decide(caller, &registry, profile);
    let is_uncovered = matches!(decision, Decision::Deny { grant: None });
    let nearest = is_uncovered.then(|| config.policy.nearest(caller, &registry, profile)).flatten();
    let notes = notes(config, caller, profile, decision);
    match format {
        Format::Json => print_line(as_json(decision, nearest.as_ref(), &notes))?,
        Format::Text => {
            let nearest = nearest.as_ref().map(nearest_in_words);
            std::iter::once(describe(decision)).chain(nearest).chain(notes).try_for_each(print_line)?;
        }
    }
    let exit = if matches!(decision, Decision::Allow { .. }) { Exit::Success } else { Exit::Denied };
    Ok(exit.into())
}

/// Returns what the decision does not tell: names that the configuration lacks, and the mode.
fn notes(config: &Config, caller: &Caller, profile: &str, decision: Decision<'_>) -> Vec<String> {
    let is_known = ProfileName::default_profile().as_str() == profile
        || config.profiles().iter().any(|one| one.name.as_str() == profile);
    let unknown_profile =
        (!profile.is_empty() && !is_known).then(|| format!("note: the configuration has no profile {profile:?}"));
    let issuer = if let Caller::Token(token) = caller { Some(&token.issuer) } else { None };
    let unknown_issuer = issuer.filter(|name| config.server.issuers.iter().all(|one| one.name != **name));
    let unknown_issuer =
        unknown_issuer.map(|name| format!("note: the configuration has no issuer \"{name}\" ([[authentication.jwt]])"));
    let is_denied = matches!(decision, Decision::Deny { .. });
    let observed = (config.policy.is_observed() && is_denied)
        .then(|| "policy.mode is \"observe\": the request is served and recorded".to_owned());
    unknown_profile.into_iter().chain(unknown_issuer).chain(observed).collect()
}

fn as_json(decision: Decision<'_>, nearest: Option<&NearMiss<'_>>, notes: &[String]) -> Value {
    let (verdict, grant) = match decision {
        Decision::Allow { grant } => ("allow", grant),
        Decision::Deny { grant } => ("deny", grant),
    };
    let profile = grant.and_then(|grant| grant.profile.as_ref()).map(ToString::to_string);
    let lifetime = grant.and_then(|grant| grant.max_lifetime).map(|lifetime| lifetime.to_string());
    let nearest = nearest.map(|near| json!({ "grant": near.grant.id, "differences": near.differences }));
    let grant = grant.map(|grant| &grant.id);
    let mut explained =
        json!({ "decision": verdict, "grant": grant, "profile": profile, "nearest": nearest, "notes": notes });
    if let Some(lifetime) = lifetime {
        explained["max_lifetime"] = lifetime.into();
    }
    explained
}

/// Names the nearest grant.
pub(super) fn nearest_in_words(NearMiss { grant, differences }: &NearMiss<'_>) -> String {
    format!("nearest: grant {:?}, but {}", grant.id, differences.join(", and "))
}

/// Prints whether the caller may read the broker's status, and why.
pub(super) fn operator(policy: &Policy, caller: &Caller, format: Format) -> anyhow::Result<ExitCode> {
    let grant = policy.operator_grant(caller).map(|grant| &grant.id);
    match (format, grant) {
        (Format::Json, grant) => print_line(json!({ "operator": grant.is_some(), "grant": grant }))?,
        (Format::Text, Some(grant)) => print_line(format_args!("operator by grant {grant:?}"))?,
        (Format::Text, None) => print_line("not an operator: no grant with operator = true has this caller")?,
    }
    if format == Format::Text {
        print_line("root and the broker's own user are operators over the Unix socket without a grant")?;
    }
    Ok(if grant.is_some() { Exit::Success } else { Exit::Denied }.into())
}

/// Describes a decision and the grant that made it.
pub(super) fn describe(decision: Decision<'_>) -> String {
    match decision {
        Decision::Allow { grant: None } => "allowed: no grants are configured".to_owned(),
        Decision::Allow { grant: Some(grant) } => {
            let profile = grant.profile.as_ref().map(ToString::to_string).unwrap_or_default();
            let limit = grant.max_lifetime.map(|one| format!(", for at most {one}")).unwrap_or_default();
            format!("allowed by grant {:?}, with profile {profile:?}{limit}", grant.id)
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
