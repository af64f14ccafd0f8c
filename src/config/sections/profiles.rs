//! `[[profiles]]`: the roles by which credentials are requested, and their permissions.

use toml::Value;

use self::parsed::parsed;
use crate::config::diagnostic::Diagnostic;
use crate::config::files::Document;
use crate::config::list::{Item, List, Listed, Unique};
use crate::config::reader::Reader;
use crate::config::value_type::Expected;
use crate::config::values::PROFILE_NAME;
use crate::credential::ProfileName;
use crate::profile::{Access, Attribution, ChainedRole, NameTemplate, Profile, RoleTemplateError};

mod parsed;
mod permissions;
mod tags;

pub(in crate::config) const PROFILES: List = List {
    key: "profiles",
    heading: "profiles",
    one: "profile",
    named_by: "name",
    unique: "name",
    keys: &[
        "name",
        "role_chain",
        "external_id",
        "access",
        "repositories",
        "pull_through",
        "mount_from",
        "signing_profiles",
        "actions",
        "session_tags",
        "transitive",
        "attribution",
        "source_identity",
        "verify",
    ],
};
/// Each role after the first costs a call to STS and limits the session to an hour; a longer chain is a mistake.
const LONGEST_CHAIN: usize = 4;
const ATTRIBUTION: Expected = Expected::Words("\"broker\", \"caller\", a template, or a list of claims");
const ROLES: Expected = Expected::Words("a list of role ARNs and of tables { arn, external_id }");
/// The external IDs that STS accepts.
const EXTERNAL_ID: Expected = Expected::Words("2 to 1,224 letters, digits and _+=,.@:/-");

/// Reads the profiles of all files.
pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Vec<Profile> {
    reader.collect(parse(reader.documents()))
}

/// Reads the profiles of documents.
fn parse<'a>(documents: impl Iterator<Item = &'a Document>) -> (Vec<Profile>, Vec<Diagnostic>) {
    let unique = Unique { are_same: |one: &Profile, other: &Profile| one.name == other.name, stays: |_| false };
    let Listed { items, diagnostics, .. } = PROFILES.read(documents, read_profile, &unique);
    (items, diagnostics)
}

fn read_profile(item: &mut Item<'_>) -> Option<Profile> {
    let name = item.required("name", PROFILE_NAME, |value| value.as_str()?.parse::<ProfileName>().ok());
    let role_chain = item.take(role_chain(item.get("role_chain")));
    let repositories = item.take(parsed("repositories", item.get("repositories")));
    let extra = permissions::read(item);
    let session_tags = tags::read(item);
    // More than pulling must be asked for.
    let access = item.optional("access", Expected::OneOf(&["pull", "push", "full"]), Access::Pull, access);
    let external_id = item.optional("external_id", EXTERNAL_ID, None, |value| external_id(value).map(Some));
    let attribution = item.take(attribution(item.get("attribution")));
    let source_identity = item.optional("source_identity", Expected::Words("true or false"), false, Value::as_bool);
    let verify = item.optional("verify", Expected::Words("true or false"), None, |value| value.as_bool().map(Some));
    let role_chain = with_external_id(role_chain?, external_id?, item);
    let profile = Profile {
        name: name?,
        role_chain,
        access: access?,
        repositories: repositories?,
        extra: extra?,
        session_tags: session_tags?,
        attribution: attribution?,
        source_identity: source_identity?,
        verify: verify?,
    };
    check(&profile, item);
    Some(profile)
}

/// Reads a list of ARNs, and of tables with an ARN and the external ID of that role.
fn role_chain(value: Option<&Value>) -> Result<Vec<ChainedRole>, String> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let roles = value.as_array().ok_or_else(|| format!("role_chain: {}", ROLES.but_got(value)))?;
    roles.iter().map(|role| chained_role(role).map_err(|problem| format!("role_chain: {problem}"))).collect()
}

fn chained_role(value: &Value) -> Result<ChainedRole, String> {
    let parse = |arn: &str| arn.parse().map_err(|error: RoleTemplateError| error.to_string());
    let table = match value {
        Value::String(arn) => return Ok(ChainedRole { role: parse(arn)?, external_id: None }),
        Value::Table(table) => table,
        other => return Err(ROLES.but_got(other)),
    };
    if let Some(key) = table.keys().find(|key| !["arn", "external_id"].contains(&key.as_str())) {
        return Err(format!("unknown key {key:?}; the keys are arn and external_id"));
    }
    let arn = table.get("arn").and_then(Value::as_str).ok_or("a role has no arn; add it")?;
    let read = |value: &Value| external_id(value).ok_or_else(|| format!("external_id: {}", EXTERNAL_ID.but_got(value)));
    Ok(ChainedRole { role: parse(arn)?, external_id: table.get("external_id").map(read).transpose()? })
}

/// Gives the profile's external ID to the last role only: the account of an earlier role must not learn it.
fn with_external_id(mut roles: Vec<ChainedRole>, external_id: Option<String>, item: &mut Item<'_>) -> Vec<ChainedRole> {
    if let (Some(last), Some(_)) = (roles.last_mut(), &external_id) {
        if last.external_id.is_some() {
            item.report("external_id: the last role of role_chain has one too; remove one of them");
        }
        last.external_id = external_id;
    }
    roles
}

/// Reports keys that are valid alone and wrong together.
fn check(profile: &Profile, item: &mut Item<'_>) {
    if profile.name == ProfileName::default_profile() {
        item.report("name: \"default\" is the broker's own identity; remove the entry or choose another name");
        return;
    }
    let beyond = item.bound().map(|bound| bound.problems_of_definition(profile)).unwrap_or_default();
    for problem in beyond {
        item.report(problem);
    }
    if profile.role_chain.is_empty() {
        item.report("role_chain is missing; list at least one role, or use the profile \"default\"");
    }
    if profile.role_chain.len() > LONGEST_CHAIN {
        item.report(format!("role_chain: expected at most {LONGEST_CHAIN} roles, got {}", profile.role_chain.len()));
    }
    if !profile.session_policy_fits() {
        item.report("repositories: the session policy exceeds STS's limit of 2,048 characters; list fewer patterns");
    }
    permissions::check(profile, item);
}

fn access(value: &Value) -> Option<Access> {
    match value.as_str()? {
        "pull" => Some(Access::Pull),
        "push" => Some(Access::Push),
        "full" => Some(Access::Full),
        _ => None,
    }
}

/// Reads `"broker"`, `"caller"`, a template, or a list of sources.
fn attribution(value: Option<&Value>) -> Result<Attribution, String> {
    let Some(value) = value else { return Ok(Attribution::Broker) };
    if value.is_array() {
        let template = NameTemplate::of_list(parsed("attribution", Some(value))?);
        return template
            .map(Attribution::Template)
            .ok_or_else(|| format!("attribution: {}", ATTRIBUTION.but_got(value)));
    }
    let text = value.as_str().ok_or_else(|| format!("attribution: {}", ATTRIBUTION.but_got(value)))?;
    text.parse().map_err(|error| format!("attribution: {error}"))
}

fn external_id(value: &Value) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    let is_valid = |id: &&str| (2..=1224).contains(&id.len()) && id.bytes().all(is_allowed);
    value.as_str().filter(is_valid).map(str::to_owned)
}

/// Returns the profiles of a text, and its problems.
#[cfg(test)]
fn read_text(text: &str) -> (Vec<Profile>, Vec<String>) {
    let document = Document { place: "file".into(), table: text.parse().unwrap(), bound: None };
    let (profiles, diagnostics) = parse([document].iter());
    (profiles, diagnostics.into_iter().map(|diagnostic| diagnostic.problem).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read() {
        let text = r#"
            [[profiles]]
            name = "ci-pull"
            role_chain = ["arn:aws:iam::210987654321:role/hub", "arn:{partition}:iam::{account}:role/ecr-pull"]
            external_id = "farm"
            access = "pull"
            repositories = ["team-a/*"]
            attribution = "caller"
            source_identity = true
            verify = true
            [[profiles]]
            name = "all"
            role_chain = ["arn:aws:iam::210987654321:role/hub"]
        "#;
        let (profiles, problems) = read_text(text);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(
            (profiles[0].role_chain.len(), profiles[0].access, profiles[0].repositories.len()),
            (2, Access::Pull, 1)
        );
        assert!(profiles[0].needs_account() && !profiles[1].needs_account());
        let ids =
            |profile: &Profile| profile.role_chain.iter().map(|role| role.external_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&profiles[0]), [None, Some("farm".to_owned())], "only the last role gets the profile's");
        assert_eq!((profiles[1].access, ids(&profiles[1])), (Access::Pull, vec![None]));
        assert_eq!((profiles[0].verify, profiles[1].verify), (Some(true), None));
        let names = |profile: &Profile| (profile.attribution.clone(), profile.source_identity);
        assert_eq!(
            (names(&profiles[0]), names(&profiles[1])),
            ((Attribution::Caller, true), (Attribution::Broker, false))
        );
    }

    #[test]
    fn attribution_by_claims_is_read() {
        let read = |attribution: &str| {
            let head = "[[profiles]]\nname = \"a\"\nrole_chain = [\"arn:aws:iam::210987654321:role/x\"]\n";
            read_text(&format!("{head}attribution = {attribution}"))
        };
        for (attribution, template) in [
            ("[\"claim:pipeline_id\"]", "ecr-broker-{claim:pipeline_id}"),
            ("[\"claim:a\", \"claim:b\"]", "ecr-broker-{claim:a}.{claim:b}"),
            ("\"gl-{claim:pipeline_id}\"", "gl-{claim:pipeline_id}"),
        ] {
            let (profiles, problems) = read(attribution);
            assert!(problems.is_empty(), "{problems:?}");
            assert!(matches!(&profiles[0].attribution, Attribution::Template(one) if one.to_string() == template));
        }
        for (attribution, hint) in [
            ("\"team\"", "or a template such as \"ci-{claim:NAME}\""),
            ("[\"pipeline_id\"]", "is not a source of a value"),
            ("[]", "a list of at least one string"),
            ("1", "\"caller\""),
        ] {
            let (_, problems) = read(attribution);
            assert!(problems.len() == 1 && problems[0].contains(hint), "{hint}: {problems:?}");
        }
    }

    #[test]
    fn each_role_can_have_its_own_external_id() {
        let (hub, pull) = ("arn:aws:iam::210987654321:role/hub", "arn:aws:iam::210987654321:role/pull");
        let read =
            |chain: &str, more: &str| read_text(&format!("[[profiles]]\nname = \"a\"\nrole_chain = {chain}\n{more}"));
        let chain = format!(r#"[{{ arn = "{hub}", external_id = "hub-id" }}, "{pull}"]"#);
        let (profiles, problems) = read(&chain, "external_id = \"pull-id\"");
        assert!(problems.is_empty(), "{problems:?}");
        let ids: Vec<_> = profiles[0].role_chain.iter().map(|role| role.external_id.as_deref()).collect();
        assert_eq!(ids, [Some("hub-id"), Some("pull-id")]);
        for (chain, more, hint) in [
            (format!(r#"[{{ arn = "{hub}", external_id = "x" }}]"#), "", "external_id: expected 2 to"),
            (format!(r#"[{{ arn = "{hub}", external_id = "one" }}]"#), "external_id = \"two\"", "remove one of them"),
            (format!(r#"[{{ arn = "{hub}", session = "x" }}]"#), "", "the keys are arn and external_id"),
            (r#"[{ external_id = "hub-id" }]"#.to_owned(), "", "has no arn"),
            ("[1]".to_owned(), "", "a list of role ARNs"),
            (format!("\"{hub}\""), "", "a list of role ARNs"),
        ] {
            let (_, problems) = read(&chain, more);
            assert!(problems.len() == 1 && problems[0].contains(hint), "{hint}: {problems:?}");
        }
    }

    #[test]
    fn every_problem_names_its_profile_and_the_accepted_values() {
        let text = r#"
            [[profiles]]
            name = "a"
            colour = 1
            role_chain = ["ecr-pull"]
            access = "read"
            repositories = ["Team"]
            external_id = "x"
            attribution = "team"
            source_identity = "me"
            [[profiles]]
            name = "b"
            access = "pull"
            [[profiles]]
            name = "default"
            [[profiles]]
            name = "b c"
            [[profiles]]
            name = "d"
            role_chain = ["arn:aws:iam::210987654321:role/hub"]
            [[profiles]]
            name = "d"
            role_chain = ["arn:aws:iam::210987654321:role/hub"]
        "#;
        let (_, problems) = read_text(text);
        for (of, hint) in [
            ("profile \"a\": colour: unknown key", "the keys are name"),
            ("profile \"a\": role_chain", "arn:aws:iam::"),
            ("profile \"a\": access", "\"pull\""),
            ("profile \"a\": repositories", "lower-case"),
            ("profile \"a\": external_id", "2 to"),
            ("profile \"a\": attribution", "\"caller\""),
            ("profile \"a\": source_identity", "expected true or false, got \"me\""),
            ("profile \"b\": role_chain is missing", "list at least one role"),
            ("profile \"default\": name", "remove the entry"),
            ("profile \"b c\": name", "1 to 32"),
            ("profile \"d\"", "duplicate name"),
        ] {
            assert!(
                problems.iter().any(|problem| problem.contains(of) && problem.contains(hint)),
                "{of}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 11, "{problems:#?}");
    }
}
