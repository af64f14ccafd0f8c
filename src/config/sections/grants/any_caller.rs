//! Caller patterns, with the keys that name the brokers which forward the callers.

use toml::{Table, Value};

use super::caller_pattern::{STANDARD_CLAIMS, parse, read_direct, read_true};
use crate::config::value_type::Expected;
use crate::config::values::string;
use crate::policy::{BrokerPattern, CallerPattern, ViaPattern};

const KEYS: [&str; 3] = ["via", "via_claim", "asserted"];
/// A caller passes at most this many brokers.
const MAX_BROKERS: usize = 3;

pub(super) fn read(table: &Table) -> Result<CallerPattern, String> {
    if !KEYS.iter().any(|key| table.contains_key(*key)) {
        return read_direct(table);
    }
    let job = table.iter().filter(|(key, _)| !KEYS.contains(&key.as_str()));
    let job = read_direct(&job.map(|(key, value)| (key.clone(), value.clone())).collect())?;
    read_forwarded(table, job)
}

/// Reads the pattern of callers like `job` that brokers forward.
fn read_forwarded(table: &Table, job: CallerPattern) -> Result<CallerPattern, String> {
    let Some(via) = table.get("via") else {
        return Err("via is missing: via_claim and asserted are about the brokers that it names".to_owned());
    };
    let brokers = read_brokers(via).map_err(|problem| format!("via: {problem}"))?;
    let is_token = matches!(job, CallerPattern::Token(_));
    read_asserted(table.get("asserted"), is_token).map_err(|problem| format!("asserted: {problem}"))?;
    let claim = table.get("via_claim").map(|value| read_claim(value, is_token, &brokers)).transpose();
    let claim = claim.map_err(|problem| format!("via_claim: {problem}"))?;
    Ok(CallerPattern::Forwarded(Box::new(job), ViaPattern { brokers, claim }))
}

fn read_brokers(value: &Value) -> Result<Vec<BrokerPattern>, String> {
    match value {
        Value::Array(brokers) if (1..=MAX_BROKERS).contains(&brokers.len()) => brokers.iter().map(parse).collect(),
        Value::String(_) => Ok(vec![parse(value)?]),
        other => Err(Expected::Words("a broker, or a list of 1 to 3").but_got(other)),
    }
}

/// The broker verifies the token of a forwarded caller. Of any other it has only the word of the brokers.
fn read_asserted(value: Option<&Value>, is_token: bool) -> Result<(), String> {
    match value {
        Some(_) if is_token => Err("the broker verifies the token itself; remove asserted".to_owned()),
        Some(value) => read_true(value),
        None if is_token => Ok(()),
        None => Err("only the word of the brokers says who the caller is; accept it by asserted = true".to_owned()),
    }
}

fn read_claim(value: &Value, is_token: bool, brokers: &[BrokerPattern]) -> Result<String, String> {
    let name = string(value)?;
    if !is_token {
        return Err("only tokens have claims; remove it, or use jwt".to_owned());
    }
    if name.is_empty() || STANDARD_CLAIMS.contains(&name) {
        return Err(format!("{name:?} does not name a broker; name a claim such as \"kubernetes.io.node.name\""));
    }
    if !brokers.first().is_some_and(BrokerPattern::has_one_star) {
        return Err(
            "the first broker of via needs one \"*\" for the claim, as in \"spiffe://prod.example/node/*\"".to_owned()
        );
    }
    Ok(name.to_owned())
}
