//! `[[authentication.jwt]]`: whose bearer tokens are taken, as typed in the file.

use std::path::PathBuf;
use std::time::Duration;

use toml::{Table, Value};

use super::values;
use crate::jwt::{self, Keys};

const KEYS: [&str; 5] = ["name", "issuer", "audience", "jwks_file", "max_lifetime"];
const MAX_LIFETIME: Duration = Duration::from_hours(1);

/// The issuers, and what is wrong with them.
pub(super) fn read(file: &Table) -> (Vec<jwt::Settings>, Vec<String>) {
    let issuers = match file.get("authentication").and_then(|section| section.get("jwt")) {
        None => return (Vec::new(), Vec::new()),
        Some(Value::Array(issuers)) => issuers,
        Some(_) => {
            let problem = "authentication.jwt is a list of tables: write [[authentication.jwt]] above each";
            return (Vec::new(), vec![problem.to_owned()]);
        }
    };
    let (mut read, mut problems) = (Vec::<jwt::Settings>::new(), Vec::new());
    for (index, issuer) in issuers.iter().enumerate() {
        let place = match issuer.get("name").and_then(Value::as_str) {
            Some(name) => format!("authentication.jwt {name:?}"),
            None => format!("authentication.jwt number {}", index + 1),
        };
        match read_one(issuer) {
            Ok(one) if read.iter().any(|other| other.name == one.name || other.issuer == one.issuer) => {
                problems.push(format!("{place}: another one has its name or issuer; each has its own"));
            }
            Ok(one) => read.push(one),
            Err(wrong) => problems.extend(wrong.into_iter().map(|problem| format!("{place}: {problem}"))),
        }
    }
    (read, problems)
}

fn read_one(value: &Value) -> Result<jwt::Settings, Vec<String>> {
    let Value::Table(table) = value else { return Err(vec![format!("{value} is not a table")]) };
    let mut problems = Vec::new();
    let unknown = table.keys().filter(|key| !KEYS.contains(&key.as_str()));
    problems.extend(unknown.map(|key| format!("{key} is not a key; an issuer has {}", KEYS.join(", "))));
    let mut text = |key: &str, what: &str, fits: fn(&str) -> bool| {
        let text = table.get(key).and_then(Value::as_str).filter(|text| fits(text));
        text.map_or_else(
            || {
                problems.push(format!("{key} is missing or is not {what}"));
                String::new()
            },
            str::to_owned,
        )
    };
    let name = text("name", "1 to 64 letters, digits, \".\", \"_\" and \"-\"", values::is_name);
    let issuer = text("issuer", "a URL that starts with https://, as the tokens have it in iss", jwt::is_safe_url);
    let audience = text("audience", "the audience that tokens for the broker have", |text| !text.is_empty());
    let keys = read_keys(table.get("jwks_file")).unwrap_or_else(|problem| {
        problems.push(format!("jwks_file: {problem}"));
        Keys::Discovery
    });
    let max_lifetime = table.get("max_lifetime").map(|value| values::duration(value, "1m", "24h")).transpose();
    let max_lifetime = max_lifetime.unwrap_or_else(|problem| {
        problems.push(format!("max_lifetime: {problem}"));
        None
    });
    let max_lifetime = max_lifetime.unwrap_or(MAX_LIFETIME);
    if problems.is_empty() { Ok(jwt::Settings { name, issuer, audience, keys, max_lifetime }) } else { Err(problems) }
}

fn read_keys(value: Option<&Value>) -> Result<Keys, String> {
    let Some(value) = value else { return Ok(Keys::Discovery) };
    let path: Option<PathBuf> = values::path(value)?;
    Ok(path.map_or(Keys::Discovery, Keys::File))
}
