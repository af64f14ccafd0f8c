//! `[[grants]]`: who may have what, as typed in the file.

use toml::{Table, Value};

use crate::config::diagnostic::Diagnostic;
use crate::config::files::Document;
use crate::config::list::{Item, List, Listed};
use crate::config::reader::Reader;
use crate::config::values::{is_name, strings};
use crate::credential::ProfileName;
use crate::policy::{
    Accounts, CallerPattern, ClaimPattern, Effect, Grant, LabelPattern, Policy, RegistryPattern, TokenPattern,
};
use crate::profile::Profile;
use crate::registry::Partition;

/// What every token has; all but the subject is weighed before any grant.
const NO_CLAIMS: [&str; 6] = ["iss", "sub", "aud", "exp", "iat", "nbf"];
pub(in crate::config) const GRANTS: List = List {
    key: "grants",
    heading: "grants",
    one: "grant",
    named_by: "id",
    unique: "id",
    keys: &["id", "callers", "registries", "profile", "effect"],
};
/// The kernel's stand-in for users without a name, which no grant may be for.
const OVERFLOW_ID: u32 = 65534;

/// Reads the grants of all files.
pub(in crate::config) fn read(reader: &mut Reader<'_>, profiles: &[Profile]) -> Policy {
    reader.collect(parse(reader.documents(), profiles))
}

/// The policy, and what is wrong with it. Without the key there are no grants, which is another thing than none that match.
pub(in crate::config) fn parse(documents: &[Document], profiles: &[Profile]) -> (Policy, Vec<Diagnostic>) {
    let Listed { items, is_there, diagnostics } =
        GRANTS.read(documents, |item| read_grant(item, profiles), |one, other| one.id == other.id);
    (if is_there { Policy::Grants(items) } else { Policy::Open }, diagnostics)
}

fn read_grant(item: &mut Item<'_>, profiles: &[Profile]) -> Option<Grant> {
    let id = item.take(read_id(item.get("id")));
    let effect = item.take(read_effect(item.get("effect")));
    let callers = read_list("callers", read_caller, item);
    let registries = read_list("registries", read_registry, item);
    let profile = item.take(read_profile(item.get("profile"), effect.unwrap_or(Effect::Deny), profiles));
    if effect == Some(Effect::Deny) && callers.iter().any(|caller| matches!(caller, CallerPattern::Gid(_))) {
        item.wrong("callers: a deny by gid would not hold, for a user may change its primary group; name the users");
    }
    Some(Grant { id: id?, callers, registries, profile: profile?, effect: effect? })
}

fn read_id(value: Option<&Value>) -> Result<String, String> {
    let id = value.and_then(Value::as_str).filter(|id| is_name(id));
    let problem = || {
        "id is missing or is none: those have 1 to 64 letters, digits, \".\", \"_\" and \"-\", and answers and logs name them"
            .to_owned()
    };
    id.map(str::to_owned).ok_or_else(problem)
}

fn read_effect(value: Option<&Value>) -> Result<Effect, String> {
    match value.map(|value| value.as_str()) {
        None | Some(Some("allow")) => Ok(Effect::Allow),
        Some(Some("deny")) => Ok(Effect::Deny),
        Some(_) => Err("effect is none of \"allow\", \"deny\"".to_owned()),
    }
}

/// An allow without one means the broker's own identity, a deny every profile.
fn read_profile(value: Option<&Value>, effect: Effect, profiles: &[Profile]) -> Result<Option<ProfileName>, String> {
    let default = ProfileName::default_profile();
    let Some(value) = value else { return Ok((effect == Effect::Allow).then_some(default)) };
    let known: Vec<_> = std::iter::once(&default).chain(profiles.iter().map(|profile| &profile.name)).collect();
    let named = value.as_str().and_then(|name| known.iter().find(|profile| profile.as_str() == name));
    named.map(|name| Some((*name).clone())).ok_or_else(|| {
        let known: Vec<_> = known.iter().map(|name| format!("{:?}", name.as_str())).collect();
        format!("profile: {value} is no profile of the broker's; there are {}", known.join(", "))
    })
}

fn read_list<T>(key: &str, read: fn(&Table) -> Result<T, String>, item: &mut Item<'_>) -> Vec<T> {
    let of_value = |value: &Value| match value {
        Value::Table(table) => read(table),
        other => Err(format!("{other} is not a table")),
    };
    let values = item.get(key).and_then(Value::as_array).filter(|values| !values.is_empty());
    let Some(read) = values.map(|values| values.iter().map(of_value).collect::<Vec<_>>()) else {
        item.wrong(format!("{key} is missing; it is a list of tables, with one in it at least"));
        return Vec::new();
    };
    read.into_iter().filter_map(|one| item.take(one.map_err(|problem| format!("{key}: {problem}")))).collect()
}

fn read_caller(table: &Table) -> Result<CallerPattern, String> {
    if table.contains_key("jwt") {
        return read_token(table).map(CallerPattern::Token);
    }
    let form = "those are { uid = 1001 }, { gid = 1001 }, { loopback = true }, { aws_api = true }, { spiffe = \"spiffe://prod.example/ci/*\" }, { dns = \"build-1.corp.example\" } and { jwt = \"blue\", subject = \"system:serviceaccount:ci:runner\" }";
    let mut entries = table.iter();
    match (entries.next(), entries.next()) {
        (Some((key, value)), None) => match (key.as_str(), value) {
            ("uid", value) => read_number(key, value).map(CallerPattern::Uid),
            ("gid", value) => read_number(key, value).map(CallerPattern::Gid),
            ("loopback", Value::Boolean(true)) => Ok(CallerPattern::Loopback),
            ("aws_api", Value::Boolean(true)) => Ok(CallerPattern::AwsApi),
            ("spiffe", Value::String(text)) => {
                text.parse().map(CallerPattern::Spiffe).map_err(|error| format!("{error}"))
            }
            ("dns", Value::String(text)) => text.parse().map(CallerPattern::Dns).map_err(|error| format!("{error}")),
            _ => Err(format!("{table:?} names no callers that this version knows; {form}", table = table.to_string())),
        },
        _ => Err(format!("each table names one kind of caller; {form}")),
    }
}

/// Of an issuer that signs for everybody in the world the name alone would let in everybody.
fn read_token(table: &Table) -> Result<TokenPattern, String> {
    let form = "those are { jwt = \"github\", subject = \"…\", claims = { repository_id = \"456\" } }, with one of subject and claims at least";
    let wrong = || format!("{:?} names no tokens; {form}", table.to_string().replace('\n', ", "));
    let known = table.keys().all(|key| ["jwt", "subject", "claims"].contains(&key.as_str()));
    let issuer = table.get("jwt").and_then(Value::as_str).filter(|_| known).ok_or_else(wrong)?.to_owned();
    let pattern = |value: &Value| {
        let text = value.as_str().ok_or_else(|| format!("{value} is not a text between quotes; {form}"))?;
        text.parse::<ClaimPattern>().map_err(|error| error.to_string())
    };
    let subject = table.get("subject").map(pattern).transpose()?;
    let claims = match table.get("claims") {
        None => Vec::new(),
        Some(Value::Table(claims)) => {
            claims.iter().map(|(name, value)| Ok((name.clone(), pattern(value)?))).collect::<Result<_, String>>()?
        }
        Some(_) => return Err(wrong()),
    };
    if let Some((name, _)) = claims.iter().find(|(name, _)| NO_CLAIMS.contains(&name.as_str())) {
        return Err(format!("claims: {name} is none that a grant can ask for; whom a token is about is subject"));
    }
    if subject.is_none() && claims.is_empty() {
        return Err(wrong());
    }
    Ok(TokenPattern { issuer, subject, claims })
}

fn read_number(key: &str, value: &Value) -> Result<u32, String> {
    match value.as_integer().and_then(|number| u32::try_from(number).ok()) {
        Some(OVERFLOW_ID) => {
            Err(format!("{key} {OVERFLOW_ID} is what the kernel calls users that it has no name for: nobody"))
        }
        Some(number) => Ok(number),
        None => Err(format!("{value} is not a {key}: those are numbers from 0 to {}", u32::MAX)),
    }
}

fn read_registry(table: &Table) -> Result<RegistryPattern, String> {
    let form =
        "those are { public = true } and { accounts = [\"123456789012\"], regions = [\"eu-*\"] }, with [\"*\"] for all";
    if table.len() == 1 && table.get("public") == Some(&Value::Boolean(true)) {
        return Ok(RegistryPattern::Public);
    }
    match (table.get("accounts"), table.get("regions")) {
        (Some(accounts), Some(regions)) if table.len() == 2 => {
            Ok(RegistryPattern::Private { accounts: read_accounts(accounts)?, regions: read_regions(regions)? })
        }
        _ => Err(format!("{:?} names no registries; {form}", table.to_string().replace('\n', ", "))),
    }
}

fn read_accounts(value: &Value) -> Result<Accounts, String> {
    let texts = strings("accounts", value)?;
    if texts == ["*"] {
        return Ok(Accounts::Any);
    }
    if texts.contains(&"*") {
        return Err("accounts: \"*\" stands alone, for every account".to_owned());
    }
    let accounts = texts.iter().map(|text| text.parse().map_err(|error| format!("accounts: {error}")));
    accounts.collect::<Result<_, String>>().map(Accounts::Of)
}

fn read_regions(value: &Value) -> Result<Vec<LabelPattern>, String> {
    let region = |text: &str| {
        let pattern: LabelPattern = text.parse().map_err(|error| format!("regions: {error}"))?;
        let problem = || format!("regions: {text:?} is no region of AWS's, nor the beginning of one");
        Partition::all_owning(text).next().map(|_| pattern).ok_or_else(problem)
    };
    strings("regions", value)?.into_iter().map(region).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::grants_as_toml;

    fn documents(text: &str) -> [Document; 1] {
        [Document { place: "file".into(), table: text.parse().unwrap() }]
    }

    fn problems(text: &str) -> Vec<String> {
        parse(&documents(text), &[]).1.into_iter().map(|mistake| mistake.problem).collect()
    }

    #[test]
    fn grants_written_as_toml_are_read_back() {
        let text = r#"
            [[grants]]
            id = "all"
            callers = [{ uid = 1 }, { loopback = true }, { aws_api = true }, { spiffe = "spiffe://a.example/ci/*" }, { dns = "b.example" }, { jwt = "blue", subject = "a:\"b\"" }, { jwt = "blue", claims = { "kubernetes.io.namespace" = "ci-*", ref = "refs/heads/main" } }]
            registries = [{ accounts = ["123456789012", "210987654321"], regions = ["eu-*", "us-east-1"] }, { accounts = ["*"], regions = ["*"] }, { public = true }]
            [[grants]]
            id = "gid"
            callers = [{ gid = 5 }]
            registries = [{ public = true }]
            [[grants]]
            id = "never"
            callers = [{ uid = 1 }]
            registries = [{ public = true }]
            effect = "deny"
        "#;
        let parse = |text: &str| parse(&documents(text), &[]);
        let (Policy::Grants(grants), diagnostics) = parse(text) else { panic!() };
        assert!(diagnostics.is_empty() && grants.len() == 3, "{diagnostics:?}");
        let written = grants_as_toml(&grants);
        assert_eq!(parse(&written), (Policy::Grants(grants), Vec::new()), "{written}");
    }

    #[test]
    fn grants_are_read_as_typed() {
        let text = r#"
            [[grants]]
            id = "farm"
            callers = [{ uid = 1001 }, { gid = 5 }, { loopback = true }, { aws_api = true }, { spiffe = "spiffe://a.example/ci/*" }, { dns = "b.example" }]
            registries = [{ accounts = ["123456789012"], regions = ["eu-*", "us-east-1"] }, { public = true }]
            [[grants]]
            id = "never"
            callers = [{ uid = 1002 }]
            registries = [{ accounts = ["*"], regions = ["*"] }]
            effect = "deny"
        "#;
        let (policy, problems) = parse(&documents(text), &[]);
        assert!(problems.is_empty(), "{problems:?}");
        let Policy::Grants(grants) = policy else { panic!("{policy:?}") };
        assert_eq!(
            grants[0].callers,
            [
                CallerPattern::Uid(1001),
                CallerPattern::Gid(5),
                CallerPattern::Loopback,
                CallerPattern::AwsApi,
                CallerPattern::Spiffe("spiffe://a.example/ci/*".parse().unwrap()),
                CallerPattern::Dns("b.example".parse().unwrap()),
            ]
        );
        assert_eq!(grants[0].registries[1], RegistryPattern::Public);
        assert_eq!(grants[0].profile, Some(ProfileName::default_profile()));
        assert_eq!((grants[1].effect, &grants[1].profile), (Effect::Deny, &None));
        let all = RegistryPattern::Private { accounts: Accounts::Any, regions: vec!["*".parse().unwrap()] };
        assert_eq!(grants[1].registries, [all]);
    }

    #[test]
    fn no_grants_are_another_thing_than_none_that_match() {
        assert_eq!(parse(&documents(""), &[]).0, Policy::Open);
        assert_eq!(parse(&documents("grants = []"), &[]).0, Policy::Grants(Vec::new()));
    }

    #[test]
    fn every_mistake_names_its_grant_and_what_would_be_taken() {
        let text = r#"
            [[grants]]
            id = "a"
            colour = "red"
            effect = "maybe"
            profile = "ci-pull"
            callers = [{ uid = -1 }, { uid = 65534 }, { jwt = "blue" }, { jwt = "blue", claims = { sub = "x" } }, { spiffe = "spiffe://x/a*b" }, { dns = "*.example" }, { uid = 1, gid = 2 }, { loopback = false }]
            registries = [{ accounts = ["12"], regions = ["*"] }, { accounts = ["*"], regions = ["EU"] }, { public = 1 }, { accounts = ["*"] }]
            [[grants]]
            callers = []
            [[grants]]
            id = "c d"
            callers = [{ gid = 7 }]
            registries = [{ accounts = ["123456789012"], regions = ["mars-1"] }, { accounts = ["*", "123456789012"], regions = ["*"] }]
            effect = "deny"
            [[grants]]
            id = "b"
            callers = [{ uid = 1 }]
            registries = [{ public = true }]
            [[grants]]
            id = "b"
            callers = [{ uid = 2 }]
            registries = [{ public = true }]
        "#;
        let problems = problems(text);
        for (of, hint) in [
            ("grant \"a\": colour", "a grant has id"),
            ("grant \"a\": effect", "\"deny\""),
            ("grant \"a\": profile", "\"default\""),
            ("grant \"a\": callers: -1", "from 0 to"),
            ("grant \"a\": callers: uid 65534", "nobody"),
            ("jwt", "one of subject and claims"),
            ("claims: sub", "is subject"),
            ("spiffe://x/a*b", "only at a segment's end"),
            ("*.example", "without \"*\""),
            ("grant \"a\": callers: each table", "one kind"),
            ("loopback = false", "{ loopback = true }"),
            ("grant \"a\": registries: accounts", "twelve digits"),
            ("grant \"a\": registries: regions", "\"eu-*\""),
            ("public = 1", "{ public = true }"),
            ("accounts = [\\\"*\\\"]", "regions"),
            ("grant number 2: id", "1 to 64"),
            ("grant number 2: callers", "one in it"),
            ("grant number 2: registries", "one in it"),
            ("grant \"c d\": id", "1 to 64"),
            ("grant \"c d\": callers", "deny by gid"),
            ("grant \"c d\": registries: regions", "mars-1"),
            ("grant \"c d\": registries: accounts", "stands alone"),
            ("grant \"b\"", "another one has its id"),
        ] {
            assert!(
                problems.iter().any(|problem| problem.contains(of) && problem.contains(hint)),
                "{of}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 23, "{problems:#?}");
    }
}
