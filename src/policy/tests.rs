use super::*;
use crate::registry::EndpointVariant;

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

/// `+id` for what a grant allows, `-id` for what one denies, `-` for what none allows.
fn decided(policy: &Policy, caller: &Caller, registry: &Registry, profile: &str) -> String {
    match policy.decide(caller, registry, profile) {
        Decision::Allow { grant } => format!("+{}", grant.map_or("", |grant| &grant.id)),
        Decision::Deny { grant } => format!("-{}", grant.map_or("", |grant| &grant.id)),
    }
}

#[test]
fn without_grants_everybody_may_have_everything_and_with_none_that_matches_nothing() {
    let one: Registry = ONE.parse().unwrap();
    assert_eq!(decided(&Policy::Open, &CI, &one, ""), "+");
    assert_eq!(decided(&Policy::Grants(Vec::new()), &CI, &one, ""), "-");
}

#[test]
fn a_grant_is_for_its_callers_its_accounts_and_its_regions() {
    let policy = Policy::Grants(vec![
        allow("uid", CallerPattern::Uid(1001), private(&["111111111111"], &["eu-*"])),
        allow("gid", CallerPattern::Gid(1001), RegistryPattern::Public),
        allow("loopback", CallerPattern::Loopback, private(&["222222222222"], &["*"])),
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
    ] {
        assert_eq!(decided(&policy, &caller, &registry.parse().unwrap(), ""), expected, "{caller} {registry}");
    }
}

#[test]
fn the_first_allow_that_covers_the_request_decides_and_a_deny_wins_over_all() {
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
fn an_account_that_is_not_known_needs_a_grant_for_all_and_no_deny_for_any() {
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

const IDS: [&str; 4] =
    ["spiffe://a.example/ci/one", "spiffe://a.example/ci/two", "spiffe://a.example/ci", "spiffe://b.example/ci/one"];
/// Patterns, and which of the ids they are about.
const SPIFFE: [(&str, &[&str]); 4] = [
    ("spiffe://a.example/ci/*", &[IDS[0], IDS[1]]),
    ("spiffe://a.example/*/one", &[IDS[0]]),
    ("spiffe://a.example/*", &[IDS[2]]),
    ("spiffe://b.example/ci/one", &[IDS[3]]),
];

/// What the four rules of the module's head say, spelt out in another way, over many random policies and requests.
#[test]
fn decisions_are_what_the_rules_say() {
    let accounts = ["111111111111", "222222222222", "333333333333"];
    let regions = ["eu-central-1", "us-east-1", "eu-west-1"];
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..20_000 {
        let grants: Vec<Grant> = (0..random.usize(0..6))
            .map(|number| {
                let caller = [
                    CallerPattern::Uid(random.u32(0..3)),
                    CallerPattern::Gid(random.u32(0..3)),
                    CallerPattern::Loopback,
                    CallerPattern::Spiffe(random.choice(SPIFFE).unwrap().0.parse().unwrap()),
                ];
                let account = random.choice([["*"], [accounts[0]], [accounts[1]]]).unwrap();
                let region = random.choice(["*", "eu-*", "us-east-1"]).unwrap();
                let registry = if random.u8(..) < 60 { RegistryPattern::Public } else { private(&account, &[region]) };
                let effect = if random.u8(..) < 60 { Effect::Deny } else { Effect::Allow };
                let profile = random.choice(["a", "b"]).filter(|_| effect == Effect::Allow || random.bool());
                grant(&number.to_string(), random.choice(caller).unwrap(), registry, profile, effect)
            })
            .collect();
        let uid = random.u32(0..3);
        let caller = match random.u8(0..4) {
            0 => Caller::Loopback,
            1 => Caller::spiffe(random.choice(IDS).unwrap()).unwrap(),
            _ => Caller::Process { uid, gid: random.u32(0..3) },
        };
        let (account, region) = (random.choice(accounts).unwrap(), random.choice(regions).unwrap());
        let public = random.u8(..) < 60;
        let host = if public { "public.ecr.aws".into() } else { format!("{account}.dkr.ecr.{region}.amazonaws.com") };
        let profile = random.choice(["", "a", "b"]).unwrap();

        let applies = |grant: &Grant, wanted: &str| {
            let caller = match (&grant.callers[0], &caller) {
                (CallerPattern::Uid(uid), Caller::Process { uid: own, .. }) => uid == own,
                (CallerPattern::Gid(gid), Caller::Process { gid: own, .. }) => gid == own,
                (CallerPattern::Spiffe(pattern), Caller::Spiffe(id)) => {
                    let (pattern, id) = (pattern.to_string(), id.to_string());
                    SPIFFE.iter().any(|(one, ids)| *one == pattern && ids.contains(&id.as_str()))
                }
                (pattern, caller) => *pattern == CallerPattern::Loopback && *caller == Caller::Loopback,
            };
            let registry = match &grant.registries[0] {
                RegistryPattern::Public => public,
                RegistryPattern::Private { accounts, regions } => {
                    let pattern = regions[0].to_string();
                    let account =
                        *accounts == Accounts::Any || *accounts == Accounts::Of(vec![account.parse().unwrap()]);
                    !public
                        && account
                        && (pattern == "*"
                            || pattern == region
                            || region.starts_with(pattern.trim_end_matches('*')) && pattern.ends_with('*'))
                }
            };
            let own = grant.profile.as_ref().map(ProfileName::as_str);
            caller && registry && (wanted.is_empty() || own.is_none() || own == Some(wanted))
        };
        let allowed = grants.iter().filter(|grant| applies(grant, profile)).find(|grant| grant.effect == Effect::Allow);
        let chosen = allowed.map_or(profile, |grant| grant.profile.as_ref().unwrap().as_str());
        let denied = grants.iter().filter(|grant| applies(grant, chosen)).find(|grant| grant.effect == Effect::Deny);
        let expected = match (denied, allowed) {
            (Some(denied), _) => format!("-{}", denied.id),
            (None, Some(allowed)) => format!("+{}", allowed.id),
            (None, None) => "-".to_owned(),
        };
        let policy = Policy::Grants(grants.clone());
        assert_eq!(
            decided(&policy, &caller, &host.parse().unwrap(), profile),
            expected,
            "{grants:#?} {caller} {host} {profile:?}"
        );
    }
}
