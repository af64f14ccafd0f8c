//! `[[profiles]]`: how credentials are minted, as typed in the file.

use std::str::FromStr;

use toml::{Table, Value};

use super::grants::read_texts;
use crate::credential::ProfileName;
use crate::profile::{Access, Attribution, Profile};

const KEYS: [&str; 7] =
    ["name", "role_chain", "external_id", "access", "repositories", "attribution", "source_identity"];
/// Each role after the first costs a call to STS and an hour at most; more than this is no design.
const LONGEST_CHAIN: usize = 4;

/// The profiles, and what is wrong with them.
pub(super) fn read(file: &Table) -> (Vec<Profile>, Vec<String>) {
    let mut problems = Vec::new();
    let profiles: Vec<Profile> = match file.get("profiles") {
        None => Vec::new(),
        Some(Value::Array(profiles)) => {
            profiles.iter().enumerate().filter_map(|one| read_profile(one, &mut problems)).collect()
        }
        Some(_) => {
            problems.push("profiles is a list of tables: write [[profiles]] above each".to_owned());
            Vec::new()
        }
    };
    for (index, profile) in profiles.iter().enumerate() {
        if profiles[..index].iter().any(|other| other.name == profile.name) {
            problems
                .push(format!("profile {:?}: there are two of this name; give each its own", profile.name.as_str()));
        }
    }
    (profiles, problems)
}

fn read_profile((index, value): (usize, &Value), problems: &mut Vec<String>) -> Option<Profile> {
    let place = match value.get("name").and_then(Value::as_str) {
        Some(name) => format!("profile {name:?}"),
        None => format!("profile number {}", index + 1),
    };
    let before = problems.len();
    let mut wrong = |problem: String| problems.push(format!("{place}: {problem}"));
    let Value::Table(table) = value else {
        wrong(format!("{value} is not a table"));
        return None;
    };
    for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        wrong(format!("{key} is not a key; a profile has {}", KEYS.join(", ")));
    }
    let name = noted(read_name(table.get("name")), &mut wrong);
    let role_chain = noted(read_parsed("role_chain", table.get("role_chain")), &mut wrong);
    let repositories = noted(read_parsed("repositories", table.get("repositories")), &mut wrong);
    let access = noted(read_access(table.get("access")), &mut wrong);
    let external_id = noted(read_external_id(table.get("external_id")), &mut wrong);
    let attribution = noted(read_attribution(table.get("attribution")), &mut wrong);
    let source_identity = noted(read_source_identity(table.get("source_identity")), &mut wrong);
    let profile = Profile {
        attribution: attribution?,
        source_identity: source_identity?,
        name: name?,
        role_chain: role_chain?,
        external_id: external_id?,
        access: access?,
        repositories: repositories?,
    };
    check(&profile, &mut wrong);
    (problems.len() == before).then_some(profile)
}

/// What no key is wrong about by itself.
fn check(profile: &Profile, wrong: &mut impl FnMut(String)) {
    if profile.role_chain.is_empty() {
        wrong("role_chain is missing: without a role there is nothing to attach access and repositories to, and the profile \"default\" needs no entry".to_owned());
    }
    if profile.role_chain.len() > LONGEST_CHAIN {
        wrong(format!("role_chain has more than {LONGEST_CHAIN} roles"));
    }
    if !profile.policy_fits() {
        wrong(
            "repositories are too many: their session policy has more than the 2,048 characters that STS takes"
                .to_owned(),
        );
    }
}

fn noted<T>(result: Result<T, String>, wrong: &mut impl FnMut(String)) -> Option<T> {
    result.map_err(wrong).ok()
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
    let texts = read_texts(key, value)?;
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
        let (profiles, problems) = read(&text.parse().unwrap());
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
        let (_, problems) = read(&text.parse().unwrap());
        for (of, hint) in [
            ("profile \"a\": colour", "a profile has name"),
            ("profile \"a\": role_chain", "arn:aws:iam::"),
            ("profile \"a\": access", "\"pull\""),
            ("profile \"a\": repositories", "lower case"),
            ("profile \"a\": external_id", "2 to"),
            ("profile \"a\": attribution", "\"caller\""),
            ("profile \"a\": source_identity", "sts:SetSourceIdentity"),
            ("profile \"b\": role_chain is missing", "attach"),
            ("profile \"default\": name", "needs no entry"),
            ("profile \"b c\": name", "1 to 32"),
            ("profile \"d\"", "two of this name"),
        ] {
            assert!(
                problems.iter().any(|problem| problem.contains(of) && problem.contains(hint)),
                "{of}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 11, "{problems:#?}");
    }
}
