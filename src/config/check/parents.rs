//! Checks of `[[parents]]` against each other and against the listeners.

use http::Uri;

use crate::address::ListenAddress;
use crate::cache::TokenScope;
use crate::client::Address;
use crate::config::model::Config;
use crate::config::reader::Reader;
use crate::credential::ProfileName;
use crate::policy::RegistryPattern;
use crate::source::broker::{Fallback, Settings};

/// Reports parents that are valid alone and wrong beside the others.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    for (index, parent) in config.parents.iter().enumerate() {
        let problems = [
            unknown_to_aws(parent, config),
            own_address(parent, config),
            covers_nothing(parent, &config.parents[..index]),
            shares_tokens(parent, config),
        ];
        for problem in problems.into_iter().flatten() {
            reader.report_file(&format!("parent {:?}: {problem}", parent.name.as_str()));
        }
    }
    for key in without_effect(config) {
        reader.report_file(&format!("{key}: the parents serve every registry, and it is for AWS alone; remove it"));
    }
    for name in verified_by_parents(config) {
        let problem = "verify: the parents serve every registry of it, and verify themselves; remove it";
        reader.report_file(&format!("profile {:?}: {problem}", name.as_str()));
    }
}

/// Returns the profiles whose `verify` tries nothing: parents serve all that they are for, and try it themselves.
fn verified_by_parents(config: &Config) -> impl Iterator<Item = &ProfileName> {
    let verified = config.aws.profiles.iter().filter(|profile| profile.verify == Some(true)).map(|one| &one.name);
    verified.filter(|name| {
        let covers = |parent: &Settings, pattern: &RegistryPattern| {
            parent.fallback != Fallback::Aws && parent.covers_all(pattern, name)
        };
        let is_covered = |pattern| config.parents.iter().any(|parent| covers(parent, pattern));
        [RegistryPattern::every_private(), RegistryPattern::Public].iter().all(is_covered)
    })
}

/// Returns the settings around AWS of a broker that never asks it.
fn without_effect(config: &Config) -> impl Iterator<Item = &'static str> {
    let for_aws = [
        ("shared_cache", config.shared_cache.is_some()),
        ("cache.token_scope", config.token_scope == TokenScope::Identity),
        ("aws.verify", config.aws.verification.own),
    ];
    let only_parents = !config.needs_aws();
    for_aws.into_iter().filter(move |(_, is_set)| only_parents && *is_set).map(|(key, _)| key)
}

/// AWS cannot serve a profile that only the parent knows.
fn unknown_to_aws(parent: &Settings, config: &Config) -> Option<String> {
    let own = |name: &ProfileName| {
        *name == ProfileName::default_profile() || config.aws.profiles.iter().any(|profile| profile.name == *name)
    };
    let unknown = parent.profiles.iter().find(|name| !own(name)).filter(|_| parent.fallback == Fallback::Aws)?;
    Some(format!(
        "fallback: \"aws\" does not have the profile {unknown}; add [[profiles]] for it, or a parent without fallback"
    ))
}

/// The broker would wait for its own answer. A name is looked up at the start.
fn own_address(parent: &Settings, config: &Config) -> Option<String> {
    let own = |address: &&Address| config.server.listen.iter().any(|listen| is_same(listen, address));
    let own = parent.addresses.iter().find(own)?;
    Some(format!("addresses: {own} is this broker's own listener; name another broker"))
}

fn is_same(listen: &ListenAddress, address: &Address) -> bool {
    match (listen, address) {
        (ListenAddress::Unix(own), Address::Unix(path)) => own == path,
        (ListenAddress::Tcp(own), Address::Plain(_) | Address::Tls(_)) => {
            let uri: Option<Uri> = address.uri().parse().ok();
            let authority = uri.as_ref().and_then(Uri::authority);
            authority.is_some_and(|authority| authority.as_str().replace("localhost", "127.0.0.1") == own.to_string())
        }
        _ => false,
    }
}

/// The parent decides about each caller and account, and a token that accounts share would answer for others.
fn shares_tokens(parent: &Settings, config: &Config) -> Option<String> {
    let problem = "forward_callers: cache.token_scope = \"identity\" would share what the parent gives; remove one";
    (parent.forward_callers && config.token_scope == TokenScope::Identity).then(|| problem.to_owned())
}

/// The first parent that covers a registry and profile is asked, so a later one may never be.
fn covers_nothing(parent: &Settings, earlier: &[Settings]) -> Option<String> {
    let mut all = parent.profiles.iter().flat_map(|profile| parent.registries.iter().map(move |one| (profile, one)));
    let is_covered = |(profile, pattern)| earlier.iter().any(|one| one.covers_all(pattern, profile));
    let problem = "registries: the parents before it serve all of them; correct their order, or remove it";
    all.all(is_covered).then(|| problem.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{load, problems};

    fn parent(name: &str, address: &str, registries: &str) -> String {
        format!("[[parents]]\nname = \"{name}\"\naddresses = [\"{address}\"]\nregistries = [{registries}]\n")
    }

    #[test]
    fn parent_must_not_be_the_broker_itself() {
        for (listen, address) in [
            ("unix:/run/b.sock", "unix:/run/b.sock"),
            ("127.0.0.1:50051", "http://127.0.0.1:50051"),
            ("127.0.0.1:50051", "http://localhost"),
            ("[::1]:4000", "http://[::1]:4000"),
        ] {
            let listen = format!("[authentication]\nloopback = true\n[server]\nlisten = [\"{listen}\"]\n");
            let problems = problems(&(listen + &parent("a", address, "{ public = true }")));
            assert!(problems[0].contains("is this broker's own listener"), "{address}: {problems:?}");
        }
    }

    #[test]
    fn parent_behind_others_that_serve_all_of_its_registries_is_a_mistake() {
        let all = "{ accounts = [\"*\"], regions = [\"*\"] }";
        let some = "{ accounts = [\"123456789012\"], regions = [\"eu-west-1\"] }";
        let text = |first: &str, second: &str| parent("a", "https://a", first) + &parent("b", "https://b", second);
        assert!(problems(&text(all, some))[0].contains("parent \"b\": registries: the parents before it"));
        assert!(load(&text(some, all)).is_ok() && load(&text(all, &format!("{some}, {{ public = true }}"))).is_ok());
    }

    #[test]
    fn callers_are_not_forwarded_where_accounts_share_tokens() {
        let text = "[[parents]]\nname = \"a\"\naddresses = [\"https://a.example\"]\nregistries = [{ public = true }]\n\
                    tls_cert = \"/etc/none/cert.pem\"\ntls_key = \"/etc/none/key.pem\"\nforward_callers = true\n";
        assert!(load(text).is_ok());
        let problems = problems(&format!("{text}[cache]\ntoken_scope = \"identity\"\n"));
        assert!(problems.len() == 1 && problems[0].contains("would share what the parent gives"), "{problems:?}");
    }

    #[test]
    fn settings_for_aws_are_mistakes_where_parents_serve_everything() {
        let all = parent("a", "https://a", "{ accounts = [\"*\"], regions = [\"*\"] }, { public = true }");
        let scope = "[cache]\ntoken_scope = \"identity\"\n";
        let problems = problems(&format!("{all}{scope}"));
        assert!(problems.len() == 1 && problems[0].contains("cache.token_scope: the parents serve"), "{problems:?}");
        let some = parent("a", "https://a", "{ public = true }");
        assert!(load(&format!("{some}{scope}")).is_ok());
    }

    #[test]
    fn verify_where_parents_serve_everything_is_a_mistake() {
        let all = parent("a", "https://a", "{ accounts = [\"*\"], regions = [\"*\"] }, { public = true }");
        let some = parent("a", "https://a", "{ accounts = [\"*\"], regions = [\"*\"] }");
        let (far, fallback) = ("profiles = [\"far\"]\n", "fallback = \"aws\"\n");
        let profile = "[[profiles]]\nname = \"far\"\nrole_chain = [\"arn:aws:iam::210987654321:role/hub\"]\n";
        let verified = format!("{profile}verify = true\n");
        let found = problems(&format!("{all}{far}{verified}"));
        assert!(found.len() == 1 && found[0].contains("profile \"far\": verify: the parents serve"), "{found:?}");
        let found = problems(&format!("{all}[aws]\nverify = true\n"));
        assert!(found.len() == 1 && found[0].contains("aws.verify: the parents serve"), "{found:?}");
        for valid in [
            format!("{all}{far}{profile}"),
            format!("{all}{far}{fallback}{verified}"),
            format!("{all}{verified}"),
            format!("{some}{far}{verified}"),
            format!("{some}[aws]\nverify = true\n"),
        ] {
            assert!(load(&valid).is_ok(), "{valid}");
        }
    }

    #[test]
    fn aws_is_needed_unless_parents_serve_everything() {
        let all = "{ accounts = [\"*\"], regions = [\"*\"] }";
        let both = parent("a", "https://a", &format!("{all}, {{ public = true }}"));
        let apart = parent("a", "https://a", all) + &parent("b", "https://b", "{ public = true }");
        let profile = "[[profiles]]\nname = \"x\"\nrole_chain = [\"arn:aws:iam::210987654321:role/hub\"]\n";
        for (text, needed) in [
            (both.clone(), false),
            (apart, false),
            (parent("a", "https://a", all), true),
            (format!("{both}fallback = \"aws\""), true),
            (format!("{both}profiles = [\"far\"]"), true),
            (format!("{both}{profile}"), true),
            (String::new(), true),
        ] {
            assert_eq!(load(&text).unwrap().needs_aws(), needed, "{text}");
        }
    }
}
