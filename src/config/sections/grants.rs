//! `[[grants]]`: which caller may have which registry and profile.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::config::diagnostic::Diagnostic;
use crate::config::files::Document;
use crate::config::list::{Item, List, Listed, Unique};
use crate::config::reader::Reader;
use crate::config::value_type::Expected;
use crate::config::values::{NAME, is_name};
use crate::credential::ProfileName;
use crate::policy::{CallerPattern, Effect, Grant, Policy};

mod any_caller;
mod caller_pattern;
mod lifetime;
pub(in crate::config) mod registry_pattern;

pub(in crate::config) const GRANTS: List = List {
    key: "grants",
    heading: "grants",
    one: "grant",
    named_by: "id",
    unique: "id",
    keys: &["id", "callers", "registries", "profile", "effect", "operator", "max_lifetime"],
};

pub(in crate::config) use self::lifetime::{LIFETIME_MARGINS, Lifetimes};

/// Grants, and the file of each by its ID.
pub(in crate::config) type Grants = (Policy, BTreeMap<String, String>);

/// Reads the grants of all files.
pub(in crate::config) fn read(reader: &mut Reader<'_>, context: &Context<'_>) -> Grants {
    reader.collect(parse(reader.documents(), context))
}

/// Settings on which the validity of a grant depends.
#[derive(Debug, Default)]
pub(in crate::config) struct Context<'a> {
    /// The profiles beside `default`.
    pub(in crate::config) profiles: &'a [ProfileName],
    pub(in crate::config) lifetimes: Lifetimes<'a>,
}

/// A table of the list: its grant, or what is left of it.
struct Entry {
    id: String,
    effect: Effect,
    grants: Vec<Grant>,
}

/// Denials stay beside a grant with their ID: another file could otherwise lift them.
const UNIQUE: Unique<Entry> =
    Unique { are_same: |one, other| one.id == other.id, stays: |entry| matches!(entry.effect, Effect::Deny) };

/// Reads the grants of documents. Without the key every caller is allowed everything; an empty list denies everything.
fn parse<'a>(documents: impl Iterator<Item = &'a Document>, context: &Context<'_>) -> (Grants, Vec<Diagnostic>) {
    let Listed { items, places, exists, diagnostics } =
        GRANTS.read(documents, |item| read_entry(item, context), &UNIQUE);
    // Of two with an ID, the first is the main file's.
    let files = items.iter().map(|entry| entry.id.clone()).zip(places).rev().collect();
    let grants = items.into_iter().flat_map(|entry| entry.grants).collect();
    ((if exists { Policy::Grants(grants) } else { Policy::Open }, files), diagnostics)
}

/// Reads a grant. Another file can make it invalid, by its limits and profiles: an allow is then left out, and of a denial the part
/// within the limits stays.
fn read_entry(item: &mut Item<'_>, context: &Context<'_>) -> Option<Entry> {
    let grant = read_grant(item, context)?;
    let (id, effect) = (grant.id.clone(), grant.effect);
    let grants = match (item.has_conflicts(), effect, item.bound()) {
        (false, ..) | (true, Effect::Deny, None) => vec![grant],
        (true, Effect::Deny, Some(bound)) => bound.part_of(&grant),
        (true, Effect::Allow | Effect::Operate, _) => return None,
    };
    Some(Entry { id, effect, grants })
}

fn read_grant(item: &mut Item<'_>, context: &Context<'_>) -> Option<Grant> {
    let id = item.required("id", NAME, |value| value.as_str().filter(|id| is_name(id)).map(str::to_owned));
    let grant =
        if item.get("operator").is_some() { read_operators(id, item) } else { read_registries(id, item, context) }?;
    let beyond = item.bound().map(|bound| bound.problems_of_grant(&grant)).unwrap_or_default();
    for problem in beyond {
        item.report_conflict(problem);
    }
    Some(grant)
}

/// Reads a grant that makes its callers operators.
fn read_operators(id: Option<String>, item: &mut Item<'_>) -> Option<Grant> {
    item.required("operator", Expected::Words("true"), |value| value.as_bool().filter(|is_operator| *is_operator));
    for key in ["registries", "profile", "effect", "max_lifetime"] {
        if item.get(key).is_some() {
            item.report(format!("{key}: a grant with operator = true has none; write a second grant"));
        }
    }
    let callers = read_callers(item);
    Some(Grant { id: id?, callers, registries: Vec::new(), profile: None, effect: Effect::Operate, max_lifetime: None })
}

/// Reads a grant that allows or denies registries.
fn read_registries(id: Option<String>, item: &mut Item<'_>, context: &Context<'_>) -> Option<Grant> {
    let effect = item.optional("effect", Expected::OneOf(&["allow", "deny"]), Effect::Allow, effect);
    let callers = read_callers(item);
    let registries = read_patterns("registries", registry_pattern::read, item);
    let profile = read_profile(item, effect.unwrap_or(Effect::Deny), context.profiles);
    if effect == Some(Effect::Deny) && callers.iter().any(|caller| matches!(caller.job(), CallerPattern::Gid(_))) {
        item.report("callers: a user can evade a denial by gid, by changing its primary group; name the users by uid");
    }
    if effect == Some(Effect::Deny) && callers.iter().any(has_via_claim) {
        item.report("callers: via_claim would narrow a denial, which a broker could evade; remove it");
    }
    let profile = profile.ok()?;
    let subject = lifetime::Subject { effect: effect?, registries: &registries, profile: profile.as_ref() };
    let max_lifetime = lifetime::read(item, &subject, context.lifetimes).ok()?;
    Some(Grant { id: id?, callers, registries, profile, effect: effect?, max_lifetime })
}

fn has_via_claim(caller: &CallerPattern) -> bool {
    matches!(caller, CallerPattern::Forwarded(_, via) if via.claim.is_some())
}

fn effect(value: &Value) -> Option<Effect> {
    match value.as_str()? {
        "allow" => Some(Effect::Allow),
        "deny" => Some(Effect::Deny),
        _ => None,
    }
}

/// Reads the profile. Without one, an allow is for the broker's own identity and a denial for every profile. Fails for a value that is
/// not a profile name, which is reported.
fn read_profile(item: &mut Item<'_>, effect: Effect, profiles: &[ProfileName]) -> Result<Option<ProfileName>, ()> {
    let default = ProfileName::default_profile();
    let Some(value) = item.get("profile") else { return Ok((effect == Effect::Allow).then_some(default)) };
    let known: Vec<_> = std::iter::once(&default).chain(profiles).collect();
    let named = value.as_str().and_then(|name| name.parse::<ProfileName>().ok());
    if !named.as_ref().is_some_and(|name| known.contains(&name)) {
        let known: Vec<_> = known.iter().map(|name| format!("{:?}", name.as_str())).collect();
        let problem = format!("profile: unknown profile {value}; the profiles are {}", known.join(", "));
        item.report_conflict(problem);
    }
    named.map(Some).ok_or(())
}

/// Reads the callers of a table.
pub(in crate::config) fn read_callers(item: &mut Item<'_>) -> Vec<CallerPattern> {
    read_patterns("callers", any_caller::read, item)
}

fn read_patterns<T>(key: &str, read: fn(&Table) -> Result<T, String>, item: &mut Item<'_>) -> Vec<T> {
    let is_list = |value: &Value| value.as_array().filter(|values| !values.is_empty()).cloned();
    let patterns = item.required(key, Expected::Words("a list of at least one table"), is_list);
    let read = |value: &Value| match value {
        Value::Table(table) => read(table),
        other => Err(Expected::Words("a table").but_got(other)),
    };
    let named = |problem| format!("{key}: {problem}");
    patterns.iter().flatten().filter_map(|pattern| item.take(read(pattern).map_err(named))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::grants_as_toml;
    use crate::policy::{Accounts, RegistryPattern};

    fn documents(text: &str) -> [Document; 1] {
        [Document { place: "file".into(), table: text.parse().unwrap(), bound: None }]
    }

    fn problems(text: &str) -> Vec<String> {
        parse(documents(text).iter(), &Context::default()).1.into_iter().map(|diagnostic| diagnostic.problem).collect()
    }

    #[test]
    fn grants_written_as_toml_are_read_back() {
        let text = r#"
            [[grants]]
            id = "all"
            callers = [{ uid = 1 }, { loopback = true }, { aws_api = true }, { spiffe = "spiffe://a.example/ci/*" }, { dns = "b.example" }, { jwt = "blue", subject = "a:\"b\"" }, { jwt = "blue", claims = { "kubernetes.io.namespace" = "ci-*", ref = "refs/heads/main" } }, { jwt = "blue", subject = "ci", via = "spiffe://a.example/node/*", via_claim = "kubernetes.io.node.name" }, { uid = 5, via = ["spiffe://a.example/node/1", "dns:b.example"], asserted = true }]
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
            [[grants]]
            id = "ops"
            callers = [{ gid = 7 }]
            operator = true
        "#;
        let parse = |text: &str| {
            let ((policy, _), diagnostics) = parse(documents(text).iter(), &Context::default());
            (policy, diagnostics)
        };
        let (Policy::Grants(grants), diagnostics) = parse(text) else { panic!() };
        assert!(diagnostics.is_empty() && grants.len() == 4, "{diagnostics:?}");
        let written = grants_as_toml(&grants);
        assert_eq!(parse(&written), (Policy::Grants(grants), Vec::new()), "{written}");
    }

    #[test]
    fn operators_have_callers_and_nothing_else() {
        let text = |rest: &str| format!("[[grants]]\nid = \"ops\"\ncallers = [{{ uid = 1001 }}]\n{rest}");
        let ((policy, _), diagnostics) = parse(documents(&text("operator = true")).iter(), &Context::default());
        let [Grant { effect: Effect::Operate, registries, profile: None, .. }] = policy.grants() else {
            panic!("{policy:?} {diagnostics:?}")
        };
        assert!(registries.is_empty() && diagnostics.is_empty(), "{diagnostics:?}");
        for (rest, hint) in [
            ("operator = false", "expected true, got false"),
            ("operator = true\nregistries = [{ public = true }]", "registries: a grant with operator = true has none"),
            ("operator = true\nprofile = \"default\"", "profile: a grant with operator = true has none"),
            ("operator = true\neffect = \"deny\"", "effect: a grant with operator = true has none"),
        ] {
            let problems = problems(&text(rest));
            assert!(problems.len() == 1 && problems[0].contains(hint), "{problems:?}");
        }
    }

    #[test]
    fn grants_are_read() {
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
        let ((policy, _), problems) = parse(documents(text).iter(), &Context::default());
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
    fn missing_grants_open_and_empty_grants_deny() {
        assert_eq!(parse(documents("").iter(), &Context::default()).0.0, Policy::Open);
        assert_eq!(parse(documents("grants = []").iter(), &Context::default()).0.0, Policy::Grants(Vec::new()));
    }

    #[test]
    fn every_problem_names_its_grant_and_the_accepted_values() {
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
            ("grant \"a\": colour: unknown key", "the keys are id"),
            ("grant \"a\": effect", "\"deny\""),
            ("grant \"a\": profile", "\"default\""),
            ("grant \"a\": callers: uid: ", "from 0 to 4294967295, got -1"),
            ("grant \"a\": callers: uid: 65534", "overflow ID"),
            ("grant \"a\": callers: jwt", "add subject or claims"),
            ("claims: sub", "use subject"),
            ("spiffe://x/a*b", "only at a segment's end"),
            ("*.example", "without \"*\""),
            ("grant \"a\": callers: expected exactly one of the keys", "got { gid = 2, uid = 1 }"),
            ("grant \"a\": callers: loopback", "expected true, got false"),
            ("grant \"a\": registries: accounts", "twelve digits"),
            ("grant \"a\": registries: regions", "\"eu-west-*\""),
            ("got { public = 1 }", "{ public = true }"),
            ("got { accounts = [\"*\"] }", "regions"),
            ("grant number 2: id is missing", "1 to 64"),
            ("grant number 2: callers", "at least one table, got []"),
            ("grant number 2: registries is missing", "at least one table"),
            ("grant \"c d\": id", "1 to 64"),
            ("grant \"c d\": callers", "denial by gid"),
            ("grant \"c d\": registries: regions", "mars-1"),
            ("grant \"c d\": registries: accounts", "remove the others"),
            ("grant \"b\"", "duplicate id"),
        ] {
            assert!(
                problems.iter().any(|problem| problem.contains(of) && problem.contains(hint)),
                "{of}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 23, "{problems:#?}");
    }

    #[test]
    fn forwarded_callers_need_brokers_and_say_what_proves_them() {
        let text = |caller: &str, rest: &str| {
            format!("[[grants]]\nid = \"a\"\ncallers = [{caller}]\nregistries = [{{ public = true }}]\n{rest}")
        };
        let nodes = "via = \"spiffe://a.example/node/*\"";
        for (caller, hint) in [
            ("{ uid = 1, asserted = true }".to_owned(), "via is missing"),
            (format!("{{ uid = 1, {nodes} }}"), "accept it by asserted = true"),
            (format!("{{ uid = 1, {nodes}, asserted = false }}"), "asserted: expected true, got false"),
            (format!("{{ jwt = \"blue\", subject = \"ci\", {nodes}, asserted = true }}"), "remove asserted"),
            (format!("{{ jwt = \"blue\", {nodes} }}"), "matches every token of the issuer"),
            (
                format!("{{ uid = 1, {nodes}, asserted = true, via_claim = \"node\" }}"),
                "via_claim: only tokens have claims",
            ),
            (format!("{{ jwt = \"blue\", subject = \"ci\", {nodes}, via_claim = \"sub\" }}"), "does not name a broker"),
            (
                "{ jwt = \"blue\", subject = \"ci\", via = \"dns:a.example\", via_claim = \"node\" }".to_owned(),
                "needs one \"*\"",
            ),
            (
                "{ jwt = \"blue\", subject = \"ci\", via = \"spiffe://a.example/*/*\", via_claim = \"node\" }"
                    .to_owned(),
                "needs one \"*\"",
            ),
            ("{ jwt = \"blue\", subject = \"ci\", via = [] }".to_owned(), "a list of 1 to 3"),
            ("{ jwt = \"blue\", subject = \"ci\", via = \"node-1\" }".to_owned(), "is not a broker"),
            (
                "{ jwt = \"blue\", subject = \"ci\", via = \"spiffe://a*b/c\" }".to_owned(),
                "not a pattern of SPIFFE IDs",
            ),
        ] {
            let problems = problems(&text(&caller, ""));
            assert!(problems.len() == 1 && problems[0].contains(hint), "{caller}: {problems:?}");
        }
        let pod = format!("{{ jwt = \"blue\", subject = \"ci\", {nodes}, via_claim = \"node\" }}");
        assert!(problems(&text(&pod, "")).is_empty());
        let narrow = problems(&text(&pod, "effect = \"deny\""));
        assert!(narrow.len() == 1 && narrow[0].contains("narrow a denial"), "{narrow:?}");
    }
}
