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
    Grant { id: id.into(), callers: vec![caller], registries: vec![registry], profile, effect }
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
        let profiles = policy.profiles_for(&registry.parse().unwrap());
        profiles.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of(&policy, ONE), ["pull", "push"]);
    assert_eq!(of(&policy, "public.ecr.aws"), Vec::<String>::new());
    assert_eq!(of(&Policy::Open, ONE), ["default"]);
}
