//! Grants as TOML, in the form that the configuration reads. `policy suggest` and `doctor` print it.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::grant::{Effect, Grant};
use super::pattern::{Accounts, CallerPattern, RegistryPattern, TokenPattern, ViaPattern};

/// Writes grants as TOML.
#[must_use]
pub fn grants_as_toml(grants: &[Grant]) -> String {
    let mut text = String::new();
    for grant in grants {
        let separator = if text.is_empty() { "" } else { "\n" };
        _ = writeln!(text, "{separator}[[grants]]");
        let mut line = |key: &str, value: Value| _ = writeln!(text, "{key} = {value}");
        line("id", grant.id.as_str().into());
        line("callers", list(grant.callers.iter().map(caller)));
        if grant.effect == Effect::Operate {
            line("operator", true.into());
            continue;
        }
        line("registries", list(grant.registries.iter().map(registry)));
        if let Some(profile) = &grant.profile {
            line("profile", profile.as_str().into());
        }
        if let Some(lifetime) = grant.max_lifetime {
            line("max_lifetime", lifetime.to_string().into());
        }
        if grant.effect == Effect::Deny {
            line("effect", "deny".into());
        }
    }
    text
}

pub(super) fn caller(pattern: &CallerPattern) -> Table {
    let (key, value) = match pattern {
        CallerPattern::Uid(uid) => ("uid", i64::from(*uid).into()),
        CallerPattern::Gid(gid) => ("gid", i64::from(*gid).into()),
        CallerPattern::Loopback => ("loopback", true.into()),
        CallerPattern::AwsApi => ("aws_api", true.into()),
        CallerPattern::Spiffe(pattern) => ("spiffe", pattern.to_string().into()),
        CallerPattern::Dns(name) => ("dns", name.to_string().into()),
        CallerPattern::Token(pattern) => return token(pattern),
        CallerPattern::Forwarded(job, via) => return forwarded(job, via),
    };
    Table::from_iter([(key.to_owned(), value)])
}

fn forwarded(job: &CallerPattern, ViaPattern { brokers, claim }: &ViaPattern) -> Table {
    let mut table = caller(job);
    let via = match brokers.as_slice() {
        [broker] => broker.to_string().into(),
        brokers => list(brokers.iter().map(ToString::to_string)),
    };
    table.insert("via".to_owned(), via);
    table.extend(claim.as_ref().map(|claim| ("via_claim".to_owned(), claim.as_str().into())));
    table.extend(job.token().is_none().then(|| ("asserted".to_owned(), true.into())));
    table
}

fn token(pattern: &TokenPattern) -> Table {
    let TokenPattern { issuer, subject, claims } = pattern;
    let mut table = Table::from_iter([("jwt".to_owned(), issuer.as_str().into())]);
    table.extend(subject.as_ref().map(|subject| ("subject".to_owned(), subject.to_string().into())));
    if !claims.is_empty() {
        let claims = claims.iter().map(|(name, pattern)| (name.clone(), Value::from(pattern.to_string())));
        table.insert("claims".to_owned(), Value::Table(claims.collect()));
    }
    table
}

fn registry(pattern: &RegistryPattern) -> Table {
    let RegistryPattern::Private { accounts, regions } = pattern else {
        return Table::from_iter([("public".to_owned(), true.into())]);
    };
    let accounts = match accounts {
        Accounts::Any => list(["*"]),
        Accounts::Of(accounts) => list(accounts.iter().map(ToString::to_string)),
    };
    let regions = list(regions.iter().map(ToString::to_string));
    Table::from_iter([("accounts".to_owned(), accounts), ("regions".to_owned(), regions)])
}

fn list<T: Into<Value>>(items: impl IntoIterator<Item = T>) -> Value {
    Value::Array(items.into_iter().map(Into::into).collect())
}
