//! Caller patterns of grants, such as `{ uid = 1001 }`.

use std::fmt::Display;
use std::str::FromStr;

use toml::{Table, Value};

use crate::config::value_type::Expected;
use crate::config::values::string;
use crate::policy::{CallerPattern, ClaimPattern, TokenPattern};

const KEYS: &str = "uid, gid, loopback, aws_api, spiffe, dns and jwt";
const TOKEN_KEYS: [&str; 3] = ["jwt", "subject", "claims"];
/// Claims that every token has. The subject has a key of its pattern; authentication checks the others.
pub(super) const STANDARD_CLAIMS: [&str; 6] = ["iss", "sub", "aud", "exp", "iat", "nbf"];
/// The kernel's ID for all users and groups that a namespace cannot name.
const OVERFLOW_ID: u32 = 65534;
const IDS: Expected = Expected::Count { least: 0, most: u32::MAX as u64 };

/// Reads a pattern without the brokers that forward its callers.
pub(super) fn read_direct(table: &Table) -> Result<CallerPattern, String> {
    if let Some(issuer) = table.get("jwt") {
        return read_token(issuer, table).map(CallerPattern::Token);
    }
    let mut entries = table.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        return Err(format!("expected exactly one of the keys {KEYS}, got {}", Value::Table(table.clone())));
    };
    match key.as_str() {
        "uid" => read_id(value).map(CallerPattern::Uid),
        "gid" => read_id(value).map(CallerPattern::Gid),
        "loopback" => read_true(value).map(|()| CallerPattern::Loopback),
        "aws_api" => read_true(value).map(|()| CallerPattern::AwsApi),
        "spiffe" => parse(value).map(CallerPattern::Spiffe),
        "dns" => parse(value).map(CallerPattern::Dns),
        _ => return Err(format!("unknown pattern {key}; the patterns are {KEYS}")),
    }
    .map_err(|problem| format!("{key}: {problem}"))
}

fn read_id(value: &Value) -> Result<u32, String> {
    match value.as_integer().and_then(|number| u32::try_from(number).ok()) {
        Some(OVERFLOW_ID) => {
            Err(format!("{OVERFLOW_ID} is the kernel's overflow ID, which many users share; name the user's own ID"))
        }
        Some(id) => Ok(id),
        None => Err(IDS.but_got(value)),
    }
}

pub(super) fn read_true(value: &Value) -> Result<(), String> {
    if value.as_bool() == Some(true) { Ok(()) } else { Err(Expected::Words("true").but_got(value)) }
}

pub(super) fn parse<T: FromStr<Err: Display>>(value: &Value) -> Result<T, String> {
    string(value)?.parse().map_err(|error: T::Err| error.to_string())
}

/// Reads a token pattern. The issuer alone is refused: a public issuer signs tokens for anyone.
fn read_token(issuer: &Value, table: &Table) -> Result<TokenPattern, String> {
    if let Some(key) = table.keys().find(|key| !TOKEN_KEYS.contains(&key.as_str())) {
        return Err(format!("{key}: unknown key; the keys beside jwt are subject, claims, via and via_claim"));
    }
    let issuer = string(issuer).map_err(|problem| format!("jwt: {problem}"))?.to_owned();
    let subject = table.get("subject").map(parse::<ClaimPattern>).transpose();
    let subject = subject.map_err(|problem| format!("subject: {problem}"))?;
    let claims =
        table.get("claims").map_or(Ok(Vec::new()), read_claims).map_err(|problem| format!("claims: {problem}"))?;
    if subject.is_none() && claims.is_empty() {
        return Err("jwt: the pattern matches every token of the issuer; add subject or claims".to_owned());
    }
    Ok(TokenPattern { issuer, subject, claims })
}

fn read_claims(value: &Value) -> Result<Vec<(String, ClaimPattern)>, String> {
    let table = value.as_table().ok_or_else(|| Expected::Words("a table of strings").but_got(value))?;
    if let Some(name) = table.keys().find(|name| STANDARD_CLAIMS.contains(&name.as_str())) {
        return Err(format!("{name} is checked before grants; remove it, or use subject for the token's sub"));
    }
    let claim = |(name, value): (&String, &Value)| {
        Ok((name.clone(), parse(value).map_err(|problem| format!("{name}: {problem}"))?))
    };
    table.iter().map(claim).collect()
}
