use std::collections::BTreeSet;

use super::*;
use crate::caller::Caller;
use crate::credential::ProfileName;
use crate::registry::{EndpointVariant, PrivateRegistry, Registry};

const ONE: &str = "111111111111.dkr.ecr.eu-central-1.amazonaws.com";
const TWO: &str = "222222222222.dkr.ecr.us-east-1.amazonaws.com";
const CI: Caller = Caller::Process { uid: 1001, gid: 1001 };
const OTHER: Caller = Caller::Process { uid: 1002, gid: 1001 };

fn private(accounts: &[&str], regions: &[&str]) -> RegistryPattern {
    let accounts = match accounts {
        ["*"] => Accounts::Any,
        accounts => Accounts::Of(accounts.iter().map(|account| account.parse().unwrap()).collect()),
    };
    RegistryPattern::Private { accounts, regions: regions.iter().map(|region| region.parse().unwrap()).collect() }
}

fn grant(id: &str, caller: CallerPattern, registry: RegistryPattern, profile: Option<&str>, effect: Effect) -> Grant {
    let profile = profile.map(ProfileName::from);
    Grant { id: id.into(), callers: vec![caller], registries: vec![registry], profile, effect, max_lifetime: None }
}

fn allow(id: &str, caller: CallerPattern, registry: RegistryPattern) -> Grant {
    grant(id, caller, registry, Some("default"), Effect::Allow)
}

fn deny(id: &str, caller: CallerPattern, registry: RegistryPattern) -> Grant {
    grant(id, caller, registry, None, Effect::Deny)
}

/// Returns `+id` if a grant allows, `-id` if a grant denies, and `-` if no grant allows.
fn decided(policy: &Policy, caller: &Caller, registry: &Registry, profile: &str) -> String {
    match policy.decide(caller, registry, profile) {
        Decision::Allow { grant } => format!("+{}", grant.map_or("", |grant| &grant.id)),
        Decision::Deny { grant } => format!("-{}", grant.map_or("", |grant| &grant.id)),
    }
}

#[test]
fn open_policy_allows_everything_and_no_matching_grant_denies() {
    let one: Registry = ONE.parse().unwrap();
    assert_eq!(decided(&Policy::Open, &CI, &one, ""), "+");
    assert_eq!(decided(&Policy::Grants(Vec::new()), &CI, &one, ""), "-");
}

#[test]
fn operator_grant_gives_no_registry_and_no_deny_takes_it_away() {
    let operate = Grant {
        id: "ops".into(),
        callers: vec![CallerPattern::Uid(1001)],
        registries: Vec::new(),
        profile: None,
        effect: Effect::Operate,
        max_lifetime: None,
    };
    let policy = Policy::Grants(vec![operate, deny("never", CallerPattern::Uid(1001), private(&["*"], &["*"]))]);
    assert_eq!(policy.operator_grant(&CI).map(|grant| grant.id.as_str()), Some("ops"));
    assert_eq!(policy.operator_grant(&OTHER), None);
    assert_eq!(Policy::Open.operator_grant(&CI), None);
    assert_eq!(decided(&policy, &CI, &Registry::PUBLIC, ""), "-");
    assert!(policy.of_caller(&CI).allowed().is_empty());
}

#[test]
fn grant_applies_to_its_callers_accounts_and_regions() {
    let policy = Policy::Grants(vec![
        allow("uid", CallerPattern::Uid(1001), private(&["111111111111"], &["eu-*"])),
        allow("gid", CallerPattern::Gid(1001), RegistryPattern::Public),
        allow("loopback", CallerPattern::Loopback, private(&["222222222222"], &["*"])),
        allow("aws-api", CallerPattern::AwsApi, private(&["111111111111"], &["*"])),
    ]);
    for (caller, registry, expected) in [
        (CI, ONE, "+uid"),
        (CI, "111111111111.dkr-ecr-fips.eu-west-1.on.aws", "+uid"),
        (CI, "111111111111.dkr.ecr.us-east-1.amazonaws.com", "-"),
        (CI, TWO, "-"),
        (OTHER, ONE, "-"),
        (CI, "public.ecr.aws", "+gid"),
        (OTHER, "ecr-public.aws.com", "+gid"),
        (Caller::Loopback, "public.ecr.aws", "-"),
        (Caller::Loopback, TWO, "+loopback"),
        (Caller::Loopback, ONE, "-"),
        (Caller::AwsApi, TWO, "-"),
        (Caller::AwsApi, ONE, "+aws-api"),
    ] {
        assert_eq!(decided(&policy, &caller, &registry.parse().unwrap(), ""), expected, "{caller} {registry}");
    }
}

#[test]
fn first_covering_allow_decides_and_a_deny_wins() {
    let wide = || private(&["*"], &["*"]);
    let mut grants = vec![
        grant("push", CallerPattern::Uid(1001), private(&["111111111111"], &["*"]), Some("push"), Effect::Allow),
        grant("pull", CallerPattern::Uid(1001), wide(), Some("pull"), Effect::Allow),
    ];
    let (one, two): (Registry, Registry) = (ONE.parse().unwrap(), TWO.parse().unwrap());
    let policy = Policy::Grants(grants.clone());
    assert_eq!(decided(&policy, &CI, &one, ""), "+push");
    assert_eq!(decided(&policy, &CI, &one, "pull"), "+pull");
    assert_eq!(decided(&policy, &CI, &two, "push"), "-", "the rights of two grants are not added up");
    assert_eq!(decided(&policy, &CI, &one, "no-such"), "-");

    grants.push(grant("no-push", CallerPattern::Uid(1001), wide(), Some("push"), Effect::Deny));
    let policy = Policy::Grants(grants.clone());
    assert_eq!(decided(&policy, &CI, &one, "push"), "-no-push");
    assert_eq!(decided(&policy, &CI, &one, "pull"), "+pull");

    grants.push(deny("nothing", CallerPattern::Gid(1001), private(&["111111111111"], &["*"])));
    let policy = Policy::Grants(grants);
    assert_eq!(decided(&policy, &CI, &one, "pull"), "-nothing");
    assert_eq!(decided(&policy, &CI, &two, "pull"), "+pull");
}

#[test]
fn unknown_account_needs_an_allow_for_all_and_no_deny_for_any() {
    let unknown = PrivateRegistry::new(None, "eu-central-1".parse().unwrap(), EndpointVariant::default()).unwrap();
    let unknown = Registry::Private(unknown);
    let some = allow("some", CallerPattern::Uid(1001), private(&["111111111111"], &["*"]));
    let all = allow("all", CallerPattern::Uid(1001), private(&["*"], &["*"]));
    let but = deny("but", CallerPattern::Uid(1001), private(&["222222222222"], &["eu-*"]));
    let elsewhere = deny("elsewhere", CallerPattern::Uid(1001), private(&["222222222222"], &["us-*"]));
    for (grants, expected) in [
        (vec![some.clone()], "-"),
        (vec![some.clone(), all.clone()], "+all"),
        (vec![all.clone(), but], "-but"),
        (vec![all, elsewhere], "+all"),
    ] {
        assert_eq!(decided(&Policy::Grants(grants), &CI, &unknown, ""), expected);
    }
}

#[test]
fn profiles_for_a_registry_are_the_allowed_ones() {
    let (here, elsewhere) = (private(&["111111111111"], &["*"]), private(&["222222222222"], &["*"]));
    let policy = Policy::Grants(vec![
        grant("a", CallerPattern::Uid(1), here.clone(), Some("pull"), Effect::Allow),
        grant("b", CallerPattern::Loopback, here.clone(), Some("push"), Effect::Allow),
        grant("c", CallerPattern::Uid(1), elsewhere, Some("other"), Effect::Allow),
        grant("d", CallerPattern::Uid(1), here, Some("denied"), Effect::Deny),
    ]);
    let of = |policy: &Policy, registry: &str| {
        let minted = policy.credentials_for(&registry.parse().unwrap());
        let profiles: BTreeSet<_> = minted.into_iter().map(|(profile, _)| profile).collect();
        profiles.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of(&policy, ONE), ["pull", "push"]);
    assert_eq!(of(&policy, "public.ecr.aws"), Vec::<String>::new());
    assert_eq!(of(&Policy::Open, ONE), ["default"]);
}

fn caller(text: &str) -> Caller {
    text.parse().unwrap()
}

fn token(subject: &str) -> CallerPattern {
    let subject = Some(subject.parse().unwrap());
    CallerPattern::Token(TokenPattern { issuer: "blue".into(), subject, claims: Vec::new() })
}

fn via(job: CallerPattern, brokers: &[&str], claim: Option<&str>) -> CallerPattern {
    let brokers = brokers.iter().map(|broker| broker.parse().unwrap()).collect();
    CallerPattern::Forwarded(Box::new(job), ViaPattern { brokers, claim: claim.map(ToOwned::to_owned) })
}

const NODES: &str = "spiffe://prod.example/node/*";

#[test]
fn allow_covers_forwarded_callers_only_with_via_and_no_direct_one() {
    let policy = Policy::Grants(vec![
        allow("direct", token("ci:*"), RegistryPattern::Public),
        allow("user", CallerPattern::Uid(1001), RegistryPattern::Public),
        allow(
            "node",
            CallerPattern::Spiffe("spiffe://prod.example/node/own".parse().unwrap()),
            RegistryPattern::Public,
        ),
        allow("nodes", via(token("cd:*"), &[NODES], None), RegistryPattern::Public),
        allow("asserted", via(CallerPattern::Uid(7), &["dns:cache.example"], None), RegistryPattern::Public),
        allow("region", via(token("far:*"), &[NODES, "dns:cache.example"], None), RegistryPattern::Public),
    ]);
    for (text, expected) in [
        ("jwt:blue:ci:a", "+direct"),
        ("via spiffe://prod.example/node/a jwt:blue:ci:a", "-"),
        ("uid:1001,gid:1001", "+user"),
        ("via spiffe://prod.example/node/a uid:1001,gid:1001", "-"),
        ("spiffe://prod.example/node/own", "+node"),
        ("via spiffe://prod.example/node/own spiffe://prod.example/node/own", "-"),
        ("jwt:blue:cd:a", "-"),
        ("via spiffe://prod.example/node/a jwt:blue:cd:a", "+nodes"),
        ("via spiffe://prod.example/other/a jwt:blue:cd:a", "-"),
        ("via spiffe://other.example/node/a jwt:blue:cd:a", "-"),
        ("via spiffe://prod.example/node/a,dns:cache.example jwt:blue:cd:a", "-"),
        ("via spiffe://prod.example/node/a jwt:green:cd:a", "-"),
        ("via dns:cache.example uid:7,gid:7", "+asserted"),
        ("via dns:other.example uid:7,gid:7", "-"),
        ("via dns:cache.example uid:8,gid:7", "-"),
        ("uid:7,gid:7", "-"),
        ("via spiffe://prod.example/node/a,dns:cache.example jwt:blue:far:a", "+region"),
        ("via dns:cache.example,spiffe://prod.example/node/a jwt:blue:far:a", "-"),
        ("via spiffe://prod.example/node/a jwt:blue:far:a", "-"),
    ] {
        assert_eq!(decided(&policy, &caller(text), &Registry::PUBLIC, ""), expected, "{text}");
    }
    let of_caller = policy.of_caller(&caller("via spiffe://prod.example/node/a jwt:blue:cd:a")).allowed().len();
    assert_eq!(of_caller, 1);
}

#[test]
fn via_claim_takes_a_token_only_from_the_broker_that_it_names() {
    const NODE: &str = "kubernetes.io.node.name";
    let nodes = via(token("system:serviceaccount:ci:*"), &["spiffe://prod.example/node/ip-*"], Some(NODE));
    let policy = Policy::Grants(vec![allow("pods", nodes, RegistryPattern::Public)]);
    assert!(policy.claim_names().contains(NODE));
    let pod = |node: &str, claims: &[(&str, &str)]| {
        let claims = claims.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        caller(&format!("via spiffe://prod.example/node/{node} jwt:blue:system:serviceaccount:ci:job"))
            .with_claims(claims)
            .unwrap()
    };
    for (caller, expected) in [
        (pod("ip-10.0.0.1", &[(NODE, "10.0.0.1")]), "+pods"),
        (pod("ip-10.0.0.2", &[(NODE, "10.0.0.1")]), "-"),
        (pod("ip-10.0.0.1", &[(NODE, "ip-10.0.0.1")]), "-"),
        (pod("ip-10.0.0.1", &[(NODE, "")]), "-"),
        (pod("ip-10.0.0.1", &[]), "-"),
        (pod("ip-10.0.0.1", &[("kubernetes.io.node.uid", "10.0.0.1")]), "-"),
        (pod("10.0.0.1", &[(NODE, "10.0.0.1")]), "-"),
    ] {
        assert_eq!(decided(&policy, &caller, &Registry::PUBLIC, ""), expected, "{caller:?}");
    }
}

#[test]
fn deny_is_not_evaded_by_going_through_a_broker() {
    let all = allow("all", via(token("*"), &[NODES], None), RegistryPattern::Public);
    let users = allow("users", via(CallerPattern::Uid(7), &[NODES, NODES], None), RegistryPattern::Public);
    let far = allow("far", via(token("*"), &[NODES, NODES], None), RegistryPattern::Public);
    let policy = |denied| {
        Policy::Grants(vec![all.clone(), users.clone(), far.clone(), deny("no", denied, RegistryPattern::Public)])
    };
    let (one, two) =
        ("via spiffe://prod.example/node/a", "via spiffe://prod.example/node/a,spiffe://prod.example/node/b");
    let spiffe = |node: &str| CallerPattern::Spiffe(format!("spiffe://prod.example/node/{node}").parse().unwrap());
    for (denied, caller_text, expected) in [
        (token("ci"), format!("{one} jwt:blue:ci"), "-no"),
        (token("cd"), format!("{one} jwt:blue:ci"), "+all"),
        (CallerPattern::Uid(7), format!("{two} uid:7,gid:7"), "-no"),
        (spiffe("a"), format!("{one} jwt:blue:ci"), "-no"),
        (spiffe("a"), format!("{two} jwt:blue:ci"), "-no"),
        (spiffe("c"), format!("{two} jwt:blue:ci"), "+far"),
        (via(token("ci"), &["spiffe://prod.example/node/a"], None), format!("{two} jwt:blue:ci"), "-no"),
        (via(token("ci"), &["spiffe://prod.example/node/b"], None), format!("{two} jwt:blue:ci"), "-no"),
        (via(token("ci"), &["spiffe://prod.example/node/b"], None), format!("{one} jwt:blue:ci"), "+all"),
        (via(token("cd"), &["spiffe://prod.example/node/a"], None), format!("{one} jwt:blue:ci"), "+all"),
    ] {
        let decision = decided(&policy(denied.clone()), &caller(&caller_text), &Registry::PUBLIC, "");
        assert_eq!(decision, expected, "{denied:?} {caller_text}");
    }
}

#[test]
fn nearest_grant_names_what_differs_in_the_way_of_a_caller() {
    let nearest = |pattern: CallerPattern, text: &str| {
        let policy = Policy::Grants(vec![allow("one", pattern, RegistryPattern::Public)]);
        policy.nearest(&caller(text), &Registry::PUBLIC, "").unwrap().differences.join("; ")
    };
    let nodes = || via(token("ci"), &[NODES], None);
    for (pattern, text, difference) in [
        (nodes(), "jwt:blue:ci", "the caller is not forwarded; the grant has via spiffe://prod.example/node/*"),
        (token("ci"), "via dns:a.example jwt:blue:ci", "dns:a.example forwards the caller; the grant has no via"),
        (
            nodes(),
            "via dns:a.example jwt:blue:ci",
            "dns:a.example forwards the caller, not spiffe://prod.example/node/*",
        ),
        (nodes(), "via spiffe://prod.example/node/a jwt:blue:cd", "the subject is \"cd\", not \"ci\""),
        (
            via(token("ci"), &[NODES], Some("node")),
            "via spiffe://prod.example/node/a jwt:blue:ci",
            "the claim node is absent, which is not the broker spiffe://prod.example/node/a",
        ),
    ] {
        assert_eq!(nearest(pattern, text), difference, "{text}");
    }
}
