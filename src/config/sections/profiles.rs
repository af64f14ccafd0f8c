//! `[[profiles]]`: how credentials are minted, as typed in the file.

use std::str::FromStr;

use toml::Value;

use crate::config::diagnostic::Diagnostic;
use crate::config::files::Document;
use crate::config::list::{Item, List, Listed};
use crate::config::reader::Reader;
use crate::config::values::strings;
use crate::credential::ProfileName;
use crate::profile::{Access, Attribution, Profile};

pub(in crate::config) const PROFILES: List = List {
    key: "profiles",
    heading: "profiles",
    one: "profile",
    named_by: "name",
    unique: "name",
    keys: &["name", "role_chain", "external_id", "access", "repositories", "attribution", "source_identity"],
};
/// Each role after the first costs a call to STS and an hour at most; more than this is no design.
const LONGEST_CHAIN: usize = 4;

/// Reads the profiles of all files.
pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Vec<Profile> {
    reader.collect(parse(reader.documents()))
}

/// The profiles, and what is wrong with them.
fn parse(documents: &[Document]) -> (Vec<Profile>, Vec<Diagnostic>) {
    let Listed { items, diagnostics, .. } = PROFILES.read(documents, read_profile, |one, other| one.name == other.name);
    (items, diagnostics)
}

fn read_profile(item: &mut Item<'_>) -> Option<Profile> {
    let name = item.take(read_name(item.get("name")));
    let role_chain = item.take(read_parsed("role_chain", item.get("role_chain")));
    let repositories = item.take(read_parsed("repositories", item.get("repositories")));
    let access = item.take(read_access(item.get("access")));
    let external_id = item.take(read_external_id(item.get("external_id")));
    let attribution = item.take(read_attribution(item.get("attribution")));
    let source_identity = item.take(read_source_identity(item.get("source_identity")));
    let profile = Profile {
        name: name?,
        role_chain: role_chain?,
        external_id: external_id?,
        access: access?,
        repositories: repositories?,
        attribution: attribution?,
        source_identity: source_identity?,
    };
    check(&profile, item);
    Some(profile)
}

/// What no key is wrong about by itself.
fn check(profile: &Profile, item: &mut Item<'_>) {
    if profile.role_chain.is_empty() {
        item.wrong("role_chain is missing: without a role there is nothing to attach access and repositories to, and the profile \"default\" needs no entry");
    }
    if profile.role_chain.len() > LONGEST_CHAIN {
        item.wrong(format!("role_chain has more than {LONGEST_CHAIN} roles"));
    }
    if !profile.session_policy_fits() {
        item.wrong("repositories are too many: their session policy has more than the 2,048 characters that STS takes");
    }
}

fn read_name(value: Option<&Value>) -> Result<ProfileName, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let name = value.and_then(Value::as_str);
    match name.filter(|name| (1..=ProfileName::LONGEST).contains(&name.len()) && name.bytes().all(allowed)) {
        Some("default") => Err("name: \"default\" is the broker's own identity, and needs no entry".to_owned()),
        Some(name) => Ok(name.into()),
        None => Err("name is missing or is no name: those have 1 to 32 letters, digits, \"-\" and \"_\"".to_owned()),
    }
}

fn read_parsed<T: FromStr>(key: &str, value: Option<&Value>) -> Result<Vec<T>, String>
where
    T::Err: std::fmt::Display,
{
    let Some(value) = value else { return Ok(Vec::new()) };
    let texts = strings(key, value)?;
    texts.iter().map(|text| text.parse().map_err(|error| format!("{key}: {error}"))).collect()
}

/// Whoever wants more than to pull has to say so.
fn read_access(value: Option<&Value>) -> Result<Access, String> {
    match value.map(Value::as_str) {
        None | Some(Some("pull")) => Ok(Access::Pull),
        Some(Some("full")) => Ok(Access::Full),
        Some(Some("push")) => Ok(Access::Push),
        Some(_) => Err("access is none of \"pull\", \"push\", \"full\"".to_owned()),
    }
}

fn read_attribution(value: Option<&Value>) -> Result<Attribution, String> {
    match value.map(|value| value.as_str()) {
        None | Some(Some("broker")) => Ok(Attribution::Broker),
        Some(Some("caller")) => Ok(Attribution::Caller),
        Some(_) => Err("attribution is none of \"broker\", \"caller\"".to_owned()),
    }
}

fn read_source_identity(value: Option<&Value>) -> Result<bool, String> {
    match value {
        None => Ok(false),
        Some(Value::Boolean(whether)) => Ok(*whether),
        Some(_) => {
            Err("source_identity is true or false; true needs sts:SetSourceIdentity in the roles' trust policies"
                .to_owned())
        }
    }
}

fn read_external_id(value: Option<&Value>) -> Result<Option<String>, String> {
    let Some(value) = value else { return Ok(None) };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    let id = value.as_str().filter(|id| (2..=1224).contains(&id.len()) && id.bytes().all(allowed));
    id.map(|id| Some(id.to_owned()))
        .ok_or_else(|| "external_id is none that STS takes: 2 to 1,224 letters, digits and _+=,.@:/-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Vec<Profile>, Vec<String>) {
        let document = Document { place: "file".into(), table: text.parse().unwrap() };
        let (profiles, diagnostics) = parse(&[document]);
        (profiles, diagnostics.into_iter().map(|mistake| mistake.problem).collect())
    }

    #[test]
    fn profiles_are_read_as_typed() {
        let text = r#"
            [[profiles]]
            name = "ci-pull"
            role_chain = ["arn:aws:iam::210987654321:role/hub", "arn:{partition}:iam::{account}:role/ecr-pull"]
            external_id = "farm"
            access = "pull"
            repositories = ["team-a/*"]
            attribution = "caller"
            source_identity = true
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
        assert_eq!((profiles[1].access, &profiles[1].external_id), (Access::Pull, &None));
        let names = |profile: &Profile| (profile.attribution, profile.source_identity);
        assert_eq!(
            (names(&profiles[0]), names(&profiles[1])),
            ((Attribution::Caller, true), (Attribution::Broker, false))
        );
    }

    #[test]
    fn every_mistake_names_its_profile_and_what_would_be_taken() {
        let text = r#"
            [[profiles]]
            name = "a"
            colour = 1
            role_chain = ["ecr-pull"]
            access = "read"
            repositories = ["Team"]
            external_id = "x"
            attribution = "nobody"
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
            ("profile \"a\": colour", "a profile has name"),
            ("profile \"a\": role_chain", "arn:aws:iam::"),
            ("profile \"a\": access", "\"pull\""),
            ("profile \"a\": repositories", "lower-case"),
            ("profile \"a\": external_id", "2 to"),
            ("profile \"a\": attribution", "\"caller\""),
            ("profile \"a\": source_identity", "sts:SetSourceIdentity"),
            ("profile \"b\": role_chain is missing", "attach"),
            ("profile \"default\": name", "needs no entry"),
            ("profile \"b c\": name", "1 to 32"),
            ("profile \"d\"", "another one has its name"),
        ] {
            assert!(
                problems.iter().any(|problem| problem.contains(of) && problem.contains(hint)),
                "{of}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 11, "{problems:#?}");
    }
}
