//! The missing grant as TOML, ready for the operator's configuration.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::caller::Caller;
use crate::policy::{CallerPattern, Effect, Grant, RegistryPattern, grants_as_toml};
use crate::registry::Registry;

/// Maximum length of a grant's ID in the configuration.
const MAX_ID_LENGTH: usize = 64;
/// Characters of an ID for registry and profile.
const MAX_TARGET_LENGTH: usize = 40;
/// Bytes of the hash in an ID: enough for the grants of one file.
const HASH_LENGTH: usize = 4;

/// Returns a `[[grants]]` block for a principal and a registry; `None` if a grant would allow other callers too.
pub(super) fn block(principal: &str, registry: &Registry, profile: &str) -> Option<String> {
    let caller: Caller = principal.parse().ok().filter(|_| !principal.contains(char::is_control))?;
    let grant = Grant {
        id: id(principal, registry, profile),
        callers: vec![CallerPattern::only(&caller.job().principal(), caller.via())?],
        registries: vec![RegistryPattern::only(registry)?],
        profile: (!profile.is_empty()).then(|| profile.into()),
        effect: Effect::Allow,
        max_lifetime: None,
    };
    Some(grants_as_toml(&[grant]).trim_end().to_owned())
}

/// Returns the command with which the operator finds the deciding grant.
pub(super) fn explain_command(principal: &str, registry: &str, profile: &str) -> String {
    let profile = if profile.is_empty() { String::new() } else { format!(" --profile {}", for_shell(profile)) };
    format!(
        "ecr-broker policy explain --config FILE --caller {}{profile} {}",
        for_shell(principal),
        for_shell(registry)
    )
}

/// Returns an ID from the end of the caller's name, which differs most between callers, the registry, the profile and a hash.
/// Truncation and replaced characters could make two IDs equal without the hash, and IDs must be unique.
fn id(principal: &str, registry: &Registry, profile: &str) -> String {
    let host = registry.host().unwrap_or_default();
    let hash = Sha256::digest(format!("{principal}\0{host}\0{profile}"));
    let target = match (registry.account(), registry.region()) {
        (Some(account), Some(region)) => format!("{account}-{region}"),
        _ => "public".to_owned(),
    };
    let target: String = id_characters(&[&target, profile].join("-")).chars().take(MAX_TARGET_LENGTH).collect();
    let end = format!("{}-{}", target.trim_matches('-'), HEXLOWER.encode(&hash[..HASH_LENGTH]));
    let name = id_characters(principal.split(',').next().unwrap_or_default());
    let room = MAX_ID_LENGTH.saturating_sub(end.len() + 1);
    let name = &name[name.len().saturating_sub(room)..];
    format!("{}-{end}", name.trim_matches('-'))
}

/// Replaces every character that an ID may not have.
fn id_characters(text: &str) -> String {
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
    fn block_names_the_caller_of_each_kind() {
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
            let printed = table["grants"][0]["id"].as_str().unwrap();
            assert!(printed.contains(&format!("{id}-123456789012-eu-central-1-")) && printed.len() <= MAX_ID_LENGTH);
            assert!(block.contains("{ accounts = [\"123456789012\"], regions = [\"eu-central-1\"] }"), "{block}");
        }
        let long = format!("jwt:blue:{}", "x".repeat(400));
        let public = block(&long, &Registry::PUBLIC, "pull").unwrap();
        let table: toml::Table = public.parse().unwrap();
        let id = table["grants"][0]["id"].as_str().unwrap();
        assert!(id.len() == MAX_ID_LENGTH && id.contains("x-public-pull-"), "{id}");
        assert!(public.contains("{ public = true }") && public.ends_with("profile = \"pull\""), "{public}");
        assert_eq!(block("jwt:blue:a*", &Registry::PUBLIC, ""), None);
        assert_eq!(block("jwt:blue:a\u{1b}[2J", &Registry::PUBLIC, ""), None);
    }

    #[test]
    fn id_differs_by_caller_registry_and_profile() {
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
        assert!(ids.iter().all(|id| id.len() <= MAX_ID_LENGTH), "{ids:?}");
        assert_eq!(id("loopback", &registry, ""), id("loopback", &registry, ""));
    }

    #[test]
    fn explain_command_is_quoted_for_a_shell() {
        assert_eq!(
            explain_command("jwt:blue:it's", PRIVATE, "p q"),
            format!("ecr-broker policy explain --config FILE --caller 'jwt:blue:it'\\''s' --profile 'p q' {PRIVATE}")
        );
    }
}
