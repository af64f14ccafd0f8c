//! The grant that is missing: whoever runs the broker pastes it into a file of grants, and it is enough.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::caller::Caller;
use crate::policy::{CallerPattern, Effect, Grant, RegistryPattern, grants_as_toml};
use crate::registry::Registry;

/// As long as an id may be.
const LONGEST_ID: usize = 64;
/// Of an id, what names the registry and the profile.
const LONGEST_PLACE: usize = 40;
/// Enough to tell the grants of one file from each other.
const HASH: usize = 4;

/// Returns a `[[grants]]` block for a principal and a registry; `None` if a grant would allow other callers too.
pub(super) fn block(principal: &str, registry: &Registry, profile: &str) -> Option<String> {
    let caller: Caller = principal.parse().ok().filter(|_| !principal.contains(char::is_control))?;
    let grant = Grant {
        id: id(principal, registry, profile),
        callers: vec![CallerPattern::only(&caller.principal())?],
        registries: vec![RegistryPattern::only(registry)?],
        profile: (!profile.is_empty()).then(|| profile.into()),
        effect: Effect::Allow,
    };
    Some(grants_as_toml(&[grant]).trim_end().to_owned())
}

/// The operator's own question about it.
pub(super) fn explain(principal: &str, registry: &str, profile: &str) -> String {
    let profile = if profile.is_empty() { String::new() } else { format!(" --profile {}", for_shell(profile)) };
    format!(
        "ecr-broker policy explain --config FILE --caller {}{profile} {}",
        for_shell(principal),
        for_shell(registry)
    )
}

/// By the end of the caller's name, which is what tells it from others, by what it asks for, and by a hash of it all: what is cut off
/// or written in another way may be all that differs, and no two grants may have the same id.
fn id(principal: &str, registry: &Registry, profile: &str) -> String {
    let host = registry.host().unwrap_or_default();
    let hash = Sha256::digest(format!("{principal}\0{host}\0{profile}"));
    let place = match (registry.account(), registry.region()) {
        (Some(account), Some(region)) => format!("{account}-{region}"),
        _ => "public".to_owned(),
    };
    let place: String = plain(&[&place, profile].join("-")).chars().take(LONGEST_PLACE).collect();
    let end = format!("{}-{}", place.trim_matches('-'), HEXLOWER.encode(&hash[..HASH]));
    let name = plain(principal.split(',').next().unwrap_or_default());
    let room = LONGEST_ID.saturating_sub(end.len() + 1);
    let name = &name[name.len().saturating_sub(room)..];
    format!("{}-{end}", name.trim_matches('-'))
}

/// Of the letters that an id may have, one byte each.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' }).collect()
}

fn for_shell(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._:/,@".contains(letter);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

    #[test]
    fn each_kind_of_caller_has_its_own_block() {
        for (principal, caller, id) in [
            ("uid:1001,gid:5", "{ uid = 1001 }", "uid-1001"),
            ("loopback", "{ loopback = true }", "loopback"),
            ("spiffe://a.example/ci", "{ spiffe = \"spiffe://a.example/ci\" }", "le-ci"),
            ("dns:b.example", "{ dns = \"b.example\" }", "dns-b.example"),
            (
                "jwt:blue:system:serviceaccount:ci:runner",
                "{ jwt = \"blue\", subject = \"system:serviceaccount:ci:runner\" }",
                "ci-runner",
            ),
        ] {
            let block = block(principal, &PRIVATE.parse().unwrap(), "").unwrap();
            let table: toml::Table = block.parse().unwrap();
            assert!(block.contains(&format!("callers = [{caller}]")), "{block}");
            let told = table["grants"][0]["id"].as_str().unwrap();
            assert!(told.contains(&format!("{id}-123456789012-eu-central-1-")) && told.len() <= LONGEST_ID, "{told}");
            assert!(block.contains("{ accounts = [\"123456789012\"], regions = [\"eu-central-1\"] }"), "{block}");
        }
        let long = format!("jwt:blue:{}", "x".repeat(400));
        let public = block(&long, &Registry::PUBLIC, "pull").unwrap();
        let table: toml::Table = public.parse().unwrap();
        let id = table["grants"][0]["id"].as_str().unwrap();
        assert!(id.len() == LONGEST_ID && id.contains("x-public-pull-"), "{id}");
        assert!(public.contains("{ public = true }") && public.ends_with("profile = \"pull\""), "{public}");
        assert_eq!(block("jwt:blue:a*", &Registry::PUBLIC, ""), None);
        assert_eq!(block("jwt:blue:a\u{1b}[2J", &Registry::PUBLIC, ""), None);
    }

    #[test]
    fn no_two_grants_have_the_same_id() {
        let other: Registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com".parse().unwrap();
        let registry: Registry = PRIVATE.parse().unwrap();
        let long = |end: &str| format!("jwt:blue:{end}{}", "x".repeat(400));
        let mut ids = Vec::new();
        for principal in ["uid:1001,gid:5", "jwt:blue:a_b", "jwt:blue:a-b", &long("a"), &long("b")] {
            for profile in ["", "pull", "pull_", "pull-", &"p".repeat(32)] {
                ids.extend([&registry, &other, &Registry::PUBLIC].map(|registry| id(principal, registry, profile)));
            }
        }
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), all), (75, 75));
        assert!(ids.iter().all(|id| id.len() <= LONGEST_ID), "{ids:?}");
        assert_eq!(id("loopback", &registry, ""), id("loopback", &registry, ""));
    }

    #[test]
    fn the_operator_s_command_goes_through_a_shell_as_it_is() {
        assert_eq!(
            explain("jwt:blue:it's", PRIVATE, "p q"),
            format!("ecr-broker policy explain --config FILE --caller 'jwt:blue:it'\\''s' --profile 'p q' {PRIVATE}")
        );
    }
}
