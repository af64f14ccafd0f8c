//! parliament, a linter of IAM policies, over every kind of session policy.

use ecr_broker::credential::{CredentialKey, Lifetime, Revision};
use ecr_broker::profile::{Access, Action, Attribution, ExtraPermissions, Profile, RepositoryPattern, SessionTags};
use ecr_broker::registry::Registry;
use serde_json::Value;

use super::other::{python, run, script, text};

const REGISTRIES: [&str; 4] = [
    "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
    "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
    "public.ecr.aws",
];

fn patterns(texts: &[&str]) -> Vec<RepositoryPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Returns permissions of which each is used alone, and all together.
fn extras(access: Access) -> Vec<ExtraPermissions> {
    let none = ExtraPermissions::default();
    let cache = ExtraPermissions { pull_through: patterns(&["docker-hub/*", "quay/*"]), ..none.clone() };
    let actions = ExtraPermissions {
        actions: if access == Access::Full { Vec::new() } else { Action::all().collect() },
        ..none.clone()
    };
    let mounts = ExtraPermissions { mount_from: patterns(&["base/*"]), ..none.clone() };
    let signed = ExtraPermissions { signing_profiles: vec!["release".parse().unwrap()], ..none.clone() };
    let all = ExtraPermissions {
        pull_through: cache.pull_through.clone(),
        mount_from: mounts.mount_from.clone(),
        signing_profiles: signed.signing_profiles.clone(),
        actions: actions.actions.clone(),
    };
    vec![none, cache, actions, mounts, signed, all]
}

/// Returns the session policies of every access, with and without repositories, with each further permission, for each registry.
fn session_policies() -> Vec<Value> {
    let mut policies = Vec::new();
    for access in [Access::Pull, Access::Push, Access::Full] {
        for (repositories, extra) in [&[][..], &["team-a/*", "base/debian"]]
            .into_iter()
            .flat_map(|repositories| extras(access).into_iter().map(move |extra| (repositories, extra)))
        {
            let profile = Profile {
                name: "ci".into(),
                role_chain: vec!["arn:{partition}:iam::210987654321:role/hub".parse().unwrap()],
                access,
                repositories: patterns(repositories),
                extra,
                session_tags: SessionTags::default(),
                attribution: Attribution::Broker,
                source_identity: false,
                verify: None,
            };
            let registries = REGISTRIES.iter().map(|host| host.parse::<Registry>().unwrap());
            let texts = registries.flat_map(|registry| {
                let short_lived = registry.region().and_then(|_| Lifetime::from_minutes(15));
                let lifetimes = std::iter::once(None).chain(short_lived.map(Some));
                let keys = lifetimes.map(|lifetime| key(&registry, lifetime)).collect::<Vec<_>>();
                keys.into_iter().filter_map(|key| profile.session_policy_of(&key)).collect::<Vec<_>>()
            });
            policies.extend(texts.map(|text| serde_json::from_str::<Value>(&text).unwrap()));
        }
    }
    policies
}

fn key(registry: &Registry, lifetime: Option<Lifetime>) -> CredentialKey {
    CredentialKey {
        registry: registry.clone(),
        profile: "ci".into(),
        revision: Revision::default(),
        caller: None,
        lifetime,
    }
}

/// Runs parliament over policies; returns whether it found nothing, and what it said.
fn parliament(policies: &[Value]) -> (bool, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, policies).unwrap();
    let output = run(python().env("PYTHONWARNINGS", "ignore").arg(script("policies.py")).arg(file.path()));
    (output.status.success(), text(&output.stdout))
}

#[test]
#[ignore = "needs parliament, which .ci/tools installs"]
fn parliament_finds_nothing_in_any_session_policy() {
    let policies = session_policies();
    // ECR Public has no short-lived tokens.
    let of_each = REGISTRIES.len() * 2 - 1;
    assert_eq!(policies.len(), (2 * 6 + 2 * 6 + 6) * of_each, "a full profile without repositories has none");
    let (is_clean, said) = parliament(&policies);
    assert!(is_clean, "{said}");
}

#[test]
#[ignore = "needs parliament, which .ci/tools installs"]
fn parliament_finds_planted_mistakes() {
    let policy = session_policies()[0].to_string();
    for (right, wrong) in [
        ("ecr:BatchGetImage", "ecr:BatchGetImages"),
        (":repository/", ":registry/"),
        ("arn:aws:ecr:eu-central-1:", "arn:aws:ecr:"),
    ] {
        let planted = policy.replace(right, wrong);
        assert_ne!(planted, policy, "{right}");
        let (is_clean, said) = parliament(&[serde_json::from_str(&planted).unwrap()]);
        assert!(!is_clean, "{wrong}: {said}");
    }
}
