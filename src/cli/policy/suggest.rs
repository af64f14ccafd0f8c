//! `policy suggest`: grants for the requests in an audit log.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::json;

use crate::caller::Caller;
use crate::config::Config;
use crate::credential::ProfileName;
use crate::policy::suggest::{RequestedAccess, suggest};
use crate::policy::{Decision, Effect, Grant, grants_as_toml};
use crate::registry::Registry;
use crate::terminal::{Format, print_error, print_line};

const NO_ACCOUNT: &str = "it names no account, so only a grant for every account (accounts = [\"*\"]) would allow it";

/// The fields of an audit record that a suggestion needs.
#[derive(Debug, Deserialize)]
struct Record {
    kind: String,
    #[serde(default)]
    time: String,
    outcome: String,
    /// Empty if the caller is unknown.
    #[serde(default)]
    caller: String,
    /// Set in records about several requests, which name no registry.
    count: Option<u64>,
    /// Set in records about other requests than those for credentials.
    operation: Option<String>,
    /// The account that the request named.
    account_id: Option<String>,
    region: Option<String>,
    registry: Option<String>,
    #[serde(default)]
    profile: String,
    /// The grant that decided.
    grant: Option<String>,
}

/// The requests in the audit logs.
#[derive(Debug, Default)]
struct AuditedRequests {
    requested: Vec<RequestedAccess>,
    /// The requests without a suggestion, each with the reason.
    rejected: BTreeSet<String>,
    records: usize,
    unreadable: usize,
    times: Times,
}

/// The times of the first and the last record, as in the log: RFC 3339 in UTC, which sorts as text.
type Times = (String, String);

/// What was read.
#[derive(Debug)]
struct Extent {
    records: usize,
    unreadable: usize,
    times: Times,
}

/// Prints grants for requests that were served and that the configured grants do not allow. `denied` includes denied requests. A log
/// without audit records is a failure: it would look like one without a need for grants.
pub(super) fn run(config: &Config, logs: &[PathBuf], denied: bool, format: Format) -> anyhow::Result<ExitCode> {
    let mut requests = AuditedRequests::default();
    for log in logs {
        for line in lines(log)? {
            requests.add(&line.with_context(|| log.display().to_string())?, config, denied);
        }
    }
    let read = Extent { records: requests.records, unreadable: requests.unreadable, times: requests.times };
    let (grants, others) = suggest(requests.requested);
    let mut rejected = requests.rejected;
    rejected.extend(others.iter().map(|request| format!("{}: a grant would match other callers too", request.caller)));
    if read.unreadable > 0 {
        print_error(format_args!("{} audit records skipped: they cannot be parsed", read.unreadable));
    }
    if read.records == 0 {
        let names: Vec<_> = logs.iter().map(|log| log.display().to_string()).collect();
        print_error(format_args!("no audit records in {}; name the file of audit.output", names.join(", ")));
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
    let (first, last) = &read.times;
    let plural = if read.records == 1 { "" } else { "s" };
    let extent = format!("# Read {} audit record{plural} from {first} to {last}.", read.records);
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
        "records": read.records, "unreadable": read.unreadable, "from": from, "to": to,
        "grants": grants.get("grants").map_or_else(|| json!([]), |grants| json!(grants)), "skipped": skipped,
    });
    Ok(line.to_string())
}

fn lines(log: &Path) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>>> {
    let file = std::fs::File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(BufReader::new(file).lines())
}

impl AuditedRequests {
    /// Adds the request of an audit record. A log on stderr has other lines too.
    fn add(&mut self, line: &str, config: &Config, denied: bool) {
        if !line.contains("\"audit\"") {
            return;
        }
        let Ok(record) = serde_json::from_str::<Record>(line) else {
            self.unreadable += 1;
            return;
        };
        if record.kind != "audit" {
            return;
        }
        self.count(&record.time);
        let counts = match record.outcome.as_str() {
            "released" | "observed" => true,
            "denied" => denied,
            _ => false,
        };
        if record.count.is_some() || record.operation.is_some() || !counts {
            return;
        }
        match record.requested_access(config) {
            Ok(requested) => self.requested.extend(requested),
            Err(problem) => _ = self.rejected.insert(problem),
        }
    }
}

impl AuditedRequests {
    fn count(&mut self, time: &str) {
        let (first, last) = &mut self.times;
        if self.records == 0 || time < first.as_str() {
            time.clone_into(first);
        }
        if time > last.as_str() {
            time.clone_into(last);
        }
        self.records += 1;
    }
}

impl Record {
    /// Returns the requested access, unless the configured grants allow it.
    fn requested_access(&self, config: &Config) -> Result<Option<RequestedAccess>, String> {
        let grant = self.grant.as_ref().and_then(|id| config.policy.grants().iter().find(|grant| grant.id == *id));
        match grant.map(|grant| grant.effect) {
            // The grant may have matched claims of the token, which the record lacks.
            Some(Effect::Allow) => return Ok(None),
            Some(Effect::Deny) => return Err(self.because("a grant denies it, and a deny wins")),
            Some(Effect::Operate) | None => {}
        }
        let Ok(caller) = self.caller.parse::<Caller>() else {
            return Err(self.because("the caller cannot be parsed"));
        };
        let registry = self.registry().ok_or_else(|| self.because(NO_ACCOUNT))?;
        let profile = self.profile(config).ok_or_else(|| self.because("the profile does not exist"))?;
        if let Decision::Allow { grant: Some(_) } = config.policy.decide(&caller, &registry, profile.as_str()) {
            return Ok(None);
        }
        Ok(Some(RequestedAccess { caller: caller.principal(), registry, profile }))
    }

    /// Returns the registry, unless the request left its account open.
    fn registry(&self) -> Option<Registry> {
        let registry: Registry = self.registry.as_deref()?.parse().ok()?;
        (registry.account().is_none() || self.account_id.is_some()).then_some(registry)
    }

    /// Returns the profile, if the configuration has it.
    fn profile(&self, config: &Config) -> Option<ProfileName> {
        let default = ProfileName::default_profile();
        if self.profile.is_empty() || self.profile == default.as_str() {
            return Some(default);
        }
        let mut profiles = config.aws.profiles.iter().map(|profile| &profile.name);
        profiles.find(|name| name.as_str() == self.profile).cloned()
    }

    fn because(&self, problem: &str) -> String {
        let registry = self.registry.as_deref().or(self.region.as_deref()).unwrap_or_default();
        format!("{}, {registry}, profile {:?}: {problem}", self.caller, self.profile)
    }
}
