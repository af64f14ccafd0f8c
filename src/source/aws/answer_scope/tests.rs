use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};

use super::*;
use crate::caller::Principal;
use crate::credential::{Lifetime, Revision};
use crate::profile::{Access, Attribution, ExtraPermissions, Profile, SessionTags};
use crate::proxy::Proxies;
use crate::source::aws::admission;
use crate::source::aws::settings::{Settings, Verification};

fn settings() -> Settings {
    Settings {
        region: None,
        regions: Vec::new(),
        needs_region: false,
        imds_disabled: true,
        ca_bundle: None,
        ecr_endpoint: None,
        ecr_endpoints: BTreeMap::new(),
        ecr_public_endpoint: None,
        ecr_public_region: "us-east-1".to_owned(),
        sts_endpoint: None,
        signin_endpoint: None,
        endpoints_are_fips: false,
        web_identity: None,
        proxies: Proxies::default(),
        connect_timeout: Duration::from_secs(1),
        attempt_timeout: Duration::from_secs(1),
        operation_timeout: Duration::from_secs(1),
        admission: admission::Settings { max_in_flight_per_region: 1, max_in_flight: 1, max_queued_per_requester: 1 },
        sts_calls_per_second: NonZeroU32::new(100).unwrap(),
        profiles: Vec::new(),
        verification: Verification::default(),
        simulated_credentials: false,
    }
}

fn profile() -> Profile {
    Profile {
        name: "ci".into(),
        role_chain: vec![
            "arn:aws:iam::123456789012:role/hub".parse().unwrap(),
            "arn:aws:iam::{account}:role/a".parse().unwrap(),
        ],
        access: Access::Pull,
        repositories: vec!["team-a/*".parse().unwrap()],
        extra: ExtraPermissions::default(),
        session_tags: SessionTags::default(),
        attribution: Attribution::Broker,
        source_identity: false,
        verify: None,
    }
}

fn key(host: &str, profile: &str) -> CredentialKey {
    CredentialKey {
        registry: host.parse().unwrap(),
        profile: profile.into(),
        revision: Revision::default(),
        caller: None,
        lifetime: None,
    }
}

fn scope(settings: &Settings, profile: Profile) -> AnswerScope {
    AnswerScope {
        own: OwnIdentity::find(settings, &[], Some("farm-a")).unwrap(),
        profiles: vec![profile].into(),
        endpoints: Endpoints::new(settings),
        sdk: SdkConfig::builder().behavior_version(BehaviorVersion::v2026_01_12()).build(),
        ecr_public_region: settings.ecr_public_region.clone(),
    }
}

const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

#[test]
fn entry_differs_with_all_on_which_an_answer_depends() {
    let settings = settings();
    let of = |settings: &Settings, profile: Profile, key: &CredentialKey| scope(settings, profile).parts(key).unwrap();
    let ci = key(HOST, "ci");
    let mut parts: Vec<EntryParts> = [
        HOST,
        "210987654321.dkr.ecr.eu-central-1.amazonaws.com",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
        "123456789012.dkr-ecr.us-east-1.on.aws",
    ]
    .map(|host| of(&settings, profile(), &key(host, "ci")))
    .into();
    parts.extend(
        ["public.ecr.aws", "ecr-public.aws.com", HOST].map(|host| of(&settings, profile(), &key(host, "default"))),
    );
    let changes: [fn(&mut Profile); 6] = [
        |one| one.role_chain[0] = "arn:aws:iam::123456789012:role/other".parse().unwrap(),
        |one| one.role_chain[1] = "arn:aws:iam::{account}:role/b".parse().unwrap(),
        |one| one.role_chain[1].external_id = Some("x".to_owned()),
        |one| one.access = Access::Push,
        |one| one.repositories.clear(),
        |one| one.source_identity = true,
    ];
    for change in changes {
        let mut other = profile();
        change(&mut other);
        parts.push(of(&settings, other, &ci));
    }
    parts.push(of(&settings, profile(), &CredentialKey { caller: Some(Principal::Uid(1)), ..ci.clone() }));
    parts.push(of(&settings, profile(), &CredentialKey { caller: Some(Principal::Uid(2)), ..ci.clone() }));
    for minutes in [15, 30] {
        let short_lived = CredentialKey { lifetime: Lifetime::from_minutes(minutes), ..ci.clone() };
        parts.push(of(&settings, profile(), &short_lived));
    }
    let short_lived = parts.last().unwrap();
    assert!(short_lived.service == "signin" && short_lived.session_policy.contains("signin:CreateBearerToken"));
    let endpoint = |url: &str| Some(url.to_owned());
    parts.push(of(&Settings { ecr_endpoint: endpoint("http://a"), ..settings.clone() }, profile(), &ci));
    parts.push(of(&Settings { sts_endpoint: endpoint("http://a"), ..settings.clone() }, profile(), &ci));
    let different: HashSet<_> = parts.iter().collect();
    assert_eq!(different.len(), parts.len(), "{parts:#?}");
    assert_eq!(of(&settings, profile(), &ci), parts[0], "the same settings have the same entry");
}

#[test]
fn own_identity_is_part_of_its_entries_and_of_no_profiles() {
    let settings = settings();
    let (one, mut other) = (scope(&settings, profile()), scope(&settings, profile()));
    other.own = OwnIdentity::find(&settings, &[], Some("farm-b")).unwrap();
    assert_ne!(one.parts(&key(HOST, "default")), other.parts(&key(HOST, "default")));
    assert_eq!(one.parts(&key(HOST, "ci")), other.parts(&key(HOST, "ci")));
}

#[test]
fn answers_of_an_unknown_profile_or_account_are_not_shared() {
    let scope = scope(&settings(), profile());
    assert_eq!(scope.parts(&key(HOST, "other")), None);
    assert_eq!(scope.parts(&key("public.ecr.aws", "ci")), None, "a role needs the account");
}
