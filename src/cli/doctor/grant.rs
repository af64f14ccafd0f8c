//! The grant that is missing: whoever runs the broker pastes it into a file of grants, and it is enough.

use std::fmt::Write as _;

use crate::registry::Registry;

/// As long as an id may be.
const LONGEST_ID: usize = 64;

/// A `[[grants]]` block for a principal and a registry; none where no block would be about that caller alone.
pub(super) fn block(principal: &str, registry: &Registry, profile: &str) -> Option<String> {
    let caller = caller(principal)?;
    let registries = match registry {
        Registry::Public { .. } => "{ public = true }".to_owned(),
        Registry::Private(private) => {
            format!("{{ accounts = [\"{}\"], regions = [\"{}\"] }}", private.account()?, private.region())
        }
    };
    let place = registry.account().map_or_else(|| "public".to_owned(), |account| account.to_string());
    let id = id(principal, &place);
    let mut block = format!("[[grants]]\nid         = \"{id}\"\ncallers    = [{caller}]\nregistries = [{registries}]");
    if !profile.is_empty() {
        _ = write!(block, "\nprofile    = {}", quoted(profile));
    }
    Some(block)
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

fn caller(principal: &str) -> Option<String> {
    if principal == "loopback" {
        return Some("{ loopback = true }".to_owned());
    }
    if principal.starts_with("spiffe://") {
        return Some(format!("{{ spiffe = {} }}", quoted(principal)));
    }
    let (kind, rest) = principal.split_once(':')?;
    match kind {
        "uid" => Some(format!("{{ uid = {} }}", rest.split(',').next()?)),
        "dns" => Some(format!("{{ dns = {} }}", quoted(rest))),
        "jwt" => {
            // In a grant a star would be about others too.
            let (issuer, subject) = rest.split_once(':').filter(|(_, subject)| !subject.contains('*'))?;
            Some(format!("{{ jwt = {}, subject = {} }}", quoted(issuer), quoted(subject)))
        }
        _ => None,
    }
}

/// By the end of the caller's name, which is what tells it from others.
fn id(principal: &str, place: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    let principal = principal.split(',').next().unwrap_or_default();
    let name: Vec<_> = principal.chars().map(plain).collect();
    let room = LONGEST_ID.saturating_sub(place.len() + 1);
    let name: String = name[name.len().saturating_sub(room)..].iter().collect();
    format!("{}-{place}", name.trim_matches('-'))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
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
            ("uid:1001,gid:5", "{ uid = 1001 }", "uid-1001-123456789012"),
            ("loopback", "{ loopback = true }", "loopback-123456789012"),
            ("spiffe://a.example/ci", "{ spiffe = \"spiffe://a.example/ci\" }", "spiffe---a.example-ci-123456789012"),
            ("dns:b.example", "{ dns = \"b.example\" }", "dns-b.example-123456789012"),
            (
                "jwt:blue:system:serviceaccount:ci:runner",
                "{ jwt = \"blue\", subject = \"system:serviceaccount:ci:runner\" }",
                "jwt-blue-system-serviceaccount-ci-runner-123456789012",
            ),
        ] {
            let block = block(principal, &PRIVATE.parse().unwrap(), "").unwrap();
            let table: toml::Table = block.parse().unwrap();
            assert!(block.contains(&format!("callers    = [{caller}]")), "{block}");
            assert_eq!(table["grants"][0]["id"].as_str(), Some(id));
            assert!(block.contains("{ accounts = [\"123456789012\"], regions = [\"eu-central-1\"] }"), "{block}");
        }
        let long = format!("jwt:blue:{}", "x".repeat(400));
        let public = block(&long, &Registry::PUBLIC, "pull").unwrap();
        let table: toml::Table = public.parse().unwrap();
        assert_eq!(table["grants"][0]["id"].as_str().map(str::len), Some(LONGEST_ID));
        assert!(public.contains("{ public = true }") && public.ends_with("profile    = \"pull\""), "{public}");
        assert_eq!(block("jwt:blue:a*", &Registry::PUBLIC, ""), None);
    }

    #[test]
    fn the_operator_s_command_goes_through_a_shell_as_it_is() {
        assert_eq!(
            explain("jwt:blue:it's", PRIVATE, "p q"),
            format!("ecr-broker policy explain --config FILE --caller 'jwt:blue:it'\\''s' --profile 'p q' {PRIVATE}")
        );
    }
}
