//! `policy suggest`: grants for the requests in an audit log.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::audit::StoredRecord;
use crate::audit::reader::Extent;
use crate::caller::Caller;
use crate::cli::audit::{print_damaged, without_records};
use crate::config::Config;
use crate::credential::ProfileName;
use crate::policy::suggest::{RequestedAccess, suggest};
use crate::policy::{Decision, Effect, Grant, grants_as_toml};
use crate::registry::Registry;
use crate::terminal::{Format, print_error, print_line};

const NO_ACCOUNT: &str = "it names no account, so only a grant for every account (accounts = [\"*\"]) would allow it";

/// The requests in the audit logs.
#[derive(Debug, Default)]
struct AuditedRequests {
    requested: BTreeSet<RequestedAccess>,
    /// The requests without a suggestion, each with the reason.
    rejected: BTreeSet<String>,
}

/// Prints grants for requests that were served and that the configured grants do not allow. `denied` includes denied requests. A log
/// without audit records is a failure: it would look like one without a need for grants.
pub(super) fn run(config: &Config, logs: &[PathBuf], denied: bool, format: Format) -> anyhow::Result<ExitCode> {
    let mut requests = AuditedRequests::default();
    let read = Extent::read(logs, |record| {
        requests.add(record, config, denied);
        Ok(())
    })?;
    let (grants, others) = suggest(requests.requested);
    let mut rejected = requests.rejected;
    rejected.extend(others.iter().map(|request| format!("{}: a grant would match other callers too", request.caller)));
    print_damaged(&read);
    if read.records == 0 {
        print_error(without_records(&read, logs));
        return Ok(ExitCode::FAILURE);
    }
    match format {
        Format::Json => print_line(as_json(&read, &grants, &rejected)?)?,
        Format::Text => {
            for problem in &rejected {
                print_error(format_args!("no grant suggested for {problem}"));
            }
            print_line(report(&read, &grants))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn report(read: &Extent, grants: &[Grant]) -> String {
    let extent = format!("# Read {}.", read.in_words());
    if grants.is_empty() {
        return format!("{extent}\n# Nothing to suggest: no new grant would allow a request in the audit log.");
    }
    let head = "# Grants for requests in the audit log that no grant allows. Review them before use.";
    format!("{extent}\n{head}\n{}", grants_as_toml(grants).trim_end())
}

fn as_json(read: &Extent, grants: &[Grant], skipped: &BTreeSet<String>) -> anyhow::Result<String> {
    let grants: toml::Table = grants_as_toml(grants).parse()?;
    let (from, to) = &read.times;
    let line = json!({
        "records": read.records, "unreadable": read.damaged, "from": from, "to": to,
        "grants": grants.get("grants").map_or_else(|| json!([]), |grants| json!(grants)), "skipped": skipped,
    });
    Ok(line.to_string())
}

impl AuditedRequests {
    /// Adds the request of an audit record.
    fn add(&mut self, record: &StoredRecord, config: &Config, denied: bool) {
        let counts = match record.outcome.as_str() {
            "released" | "observed" => true,
            "denied" => denied,
            _ => false,
        };
        if record.count.is_some() || record.operation.is_some() || !counts {
            return;
        }
        match requested_access(record, config) {
            Ok(requested) => self.requested.extend(requested),
            Err(problem) => _ = self.rejected.insert(problem),
        }
    }
}

/// Returns the requested access, unless the configured grants allow it.
fn requested_access(record: &StoredRecord, config: &Config) -> Result<Option<RequestedAccess>, String> {
    let grant = record.grant.as_ref().and_then(|id| config.policy.grants().iter().find(|grant| grant.id == *id));
    match grant.map(|grant| grant.effect) {
        // The grant may have matched claims of the token, which the record lacks.
        Some(Effect::Allow) => return Ok(None),
        Some(Effect::Deny) => return Err(because(record, "a grant denies it, and a deny wins")),
        Some(Effect::Operate) | None => {}
    }
    let Ok(caller) = record.caller_name().parse::<Caller>() else {
        return Err(because(record, "the caller cannot be parsed"));
    };
    let registry = registry_of(record).ok_or_else(|| because(record, NO_ACCOUNT))?;
    let profile = profile_of(record, config).ok_or_else(|| because(record, "the profile does not exist"))?;
    if let Decision::Allow { grant: Some(_) } = config.policy.decide(&caller, &registry, profile.as_str()) {
        return Ok(None);
    }
    let via = caller.via().cloned();
    Ok(Some(RequestedAccess { caller: caller.job().principal(), via, registry, profile }))
}

/// Returns the registry, unless the request left its account open.
fn registry_of(record: &StoredRecord) -> Option<Registry> {
    let registry: Registry = record.registry.as_deref()?.parse().ok()?;
    (registry.account().is_none() || record.account_id.is_some()).then_some(registry)
}

/// Returns the profile, if the configuration has it.
fn profile_of(record: &StoredRecord, config: &Config) -> Option<ProfileName> {
    let default = ProfileName::default_profile();
    if record.profile.is_empty() || record.profile == default.as_str() {
        return Some(default);
    }
    let mut profiles = config.profiles().into_iter().map(|profile| profile.name);
    profiles.find(|name| name.as_str() == record.profile)
}

fn because(record: &StoredRecord, problem: &str) -> String {
    let registry = record.registry.as_deref().or(record.region.as_deref()).unwrap_or_default();
    format!("{}, {registry}, profile {:?}: {problem}", record.caller_name(), record.profile)
}
