//! `ListRegistries`: pages, their order, and what a page costs.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, clippy::duration_suboptimal_units, reason = "a test may")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use ecr_broker::broker::{CredentialRequest, RequestContext};
use ecr_broker::caller::Caller;
use ecr_broker::pb;
use ecr_broker::pb::registry_access::Target as Listed;
use ecr_broker::policy::{Accounts, CallerPattern, Effect, Grant, Policy, RegistryPattern, TokenPattern};
use ecr_broker::profile::{Attribution, Profile, SessionTag, SessionTags};
use support::*;
use tonic::Status;
use tonic_types::StatusExt as _;

const ALIAS: &str = "50.proxy.example";

fn private(accounts: &[usize], regions: &[&str]) -> RegistryPattern {
    let accounts = accounts.iter().map(|account| format!("{account:012}").parse().unwrap()).collect();
    RegistryPattern::Private {
        accounts: if accounts == Vec::new() { Accounts::Any } else { Accounts::Of(accounts) },
        regions: regions.iter().map(|region| region.parse().unwrap()).collect(),
    }
}

fn grant(id: &str, registry: RegistryPattern, effect: Effect) -> Grant {
    let profile = (effect == Effect::Allow).then(|| "default".into());
    Grant {
        id: id.into(),
        callers: vec![CallerPattern::Loopback],
        registries: vec![registry],
        profile,
        effect,
        max_lifetime: None,
    }
}

/// Allows loopback callers every account in Europe but account 3, Frankfurt of account 50 by name, and an account in America.
fn policy() -> Policy {
    Policy::Grants(vec![
        grant("europe", private(&[], &["eu-*"]), Effect::Allow),
        grant("not-3", private(&[3], &["*"]), Effect::Deny),
        grant("america", private(&[7], &["us-*"]), Effect::Allow),
        grant("frankfurt", private(&[50], &["eu-central-1"]), Effect::Allow),
        grant("public", RegistryPattern::Public, Effect::Allow),
    ])
}

/// Returns the host of an account in a region.
fn at(account: usize, region: &str) -> String {
    format!("{account:012}.dkr.ecr.{region}.amazonaws.com")
}

/// Starts a broker with `cached` credentials of two regions, which the caller got before it had grants.
async fn broker(cached: usize) -> TestBroker {
    let broker = TestBroker::start_with(|setup| {
        setup.config.aliases.add(ALIAS, at(50, "eu-central-1").parse().unwrap()).unwrap();
    });
    for number in 0..cached {
        broker.cache.get(lookup(&at(number, "eu-central-1"))).await.unwrap();
        broker.cache.get(lookup(&at(number, "us-east-1"))).await.unwrap();
    }
    broker.broker.set_policy(Policy::Grants(Vec::new()));
    broker
}

async fn page(client: &mut Client, page_size: i32, page_token: &str) -> Result<pb::ListRegistriesResponse, Status> {
    let request = pb::ListRegistriesRequest { page_size, page_token: page_token.into() };
    client.list_registries(request).await.map(tonic::Response::into_inner)
}

fn name(access: &pb::RegistryAccess) -> (bool, String) {
    match access.target.clone().unwrap() {
        Listed::Registry(name) => (false, name),
        Listed::RegistryPattern(name) => (true, name),
    }
}

/// Returns whether each entry has an expiry, by its name, and the number of pages.
async fn all_pages(client: &mut Client, size: i32) -> (BTreeMap<(bool, String), bool>, usize) {
    let (mut listed, mut pages, mut token) = (BTreeMap::new(), 0, String::new());
    loop {
        let found = page(client, size, &token).await.unwrap();
        assert!(found.registries.len() <= usize::try_from(size).unwrap());
        for access in &found.registries {
            assert!(listed.last_key_value().is_none_or(|(last, _)| *last < name(access)), "in order and once");
            listed.insert(name(access), access.expire_time.is_some());
        }
        (pages, token) = (pages + 1, found.next_page_token);
        if token.is_empty() {
            return (listed, pages);
        }
    }
}

#[tokio::test]
async fn list_without_grants_is_one_empty_page() {
    let broker = broker(3).await;
    let found = page(&mut broker.client().await, 1, "").await.unwrap();
    assert_eq!(found, pb::ListRegistriesResponse::default());
    broker.broker.set_policy(Policy::Grants(vec![grant("deny", private(&[], &["*"]), Effect::Deny)]));
    assert_eq!(page(&mut broker.client().await, 1, "").await.unwrap(), pb::ListRegistriesResponse::default());
}

#[tokio::test]
async fn pages_of_any_size_hold_the_same_entries_in_order() {
    let broker = broker(60).await;
    broker.broker.set_policy(policy());
    let mut client = broker.client().await;
    let (whole, pages) = all_pages(&mut client, 1_000).await;
    assert_eq!(pages, 1);
    for size in [1, 2, 7, 64] {
        let (listed, pages) = all_pages(&mut client, size).await;
        assert_eq!(listed, whole, "{size}");
        assert_eq!(pages, whole.len().div_ceil(usize::try_from(size).unwrap()), "{size}");
    }
    let expiry = |host: &str| whole.get(&(false, host.to_owned())).copied();
    for number in 0..60 {
        let europe = (number != 3).then_some(true);
        assert_eq!(expiry(&at(number, "eu-central-1")), europe, "{number}");
        assert_eq!(expiry(&at(number, "us-east-1")), (number == 7).then_some(true), "{number}");
    }
    assert_eq!(expiry(ALIAS), Some(true));
    assert_eq!(expiry("public.ecr.aws"), Some(false));
    assert_eq!(expiry("000000000050.dkr-ecr.eu-central-1.on.aws"), Some(false));
    assert!(whole.contains_key(&(true, "*.dkr.ecr.eu-*.amazonaws.com".to_owned())));
}

#[tokio::test]
async fn entry_removed_between_two_pages_moves_no_other() {
    let broker = broker(4).await;
    broker.broker.set_policy(policy());
    let mut client = broker.client().await;
    let first = page(&mut client, 2, "").await.unwrap();
    let names: Vec<_> = first.registries.iter().map(|access| name(access).1).collect();
    assert_eq!(names, [at(0, "eu-central-1"), at(1, "eu-central-1")]);
    // The last entry of the first page is denied from now on.
    let Policy::Grants(mut grants) = policy() else { unreachable!() };
    grants.push(grant("not-1", private(&[1], &["*"]), Effect::Deny));
    broker.broker.set_policy(Policy::Grants(grants));
    let second = page(&mut client, 1, &first.next_page_token).await.unwrap();
    assert_eq!(name(&second.registries[0]).1, at(2, "eu-central-1"));
}

#[tokio::test]
async fn page_counts_in_the_limits_by_its_size() {
    let broker = TestBroker::start_with(|setup| setup.config.limits.in_flight = 50);
    let mut client = broker.client().await;
    page(&mut client, 500, "").await.unwrap();
    let status = page(&mut client, 501, "").await.unwrap_err();
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "CALLER_RATE_LIMITED");
}

/// The profiles' sessions name the caller, claims of it, or have them as tags.
#[tokio::test]
async fn list_shows_the_expiry_of_a_callers_own_credential_and_of_no_other() {
    let tags = |text: &str| {
        SessionTags(vec![SessionTag { key: "team".into(), value: text.parse().unwrap(), is_transitive: false }])
    };
    let none = || SessionTags::default();
    for (attribution, tags, shares) in [
        (Attribution::Caller, none(), false),
        ("ci-{claim:team}".parse().unwrap(), none(), true),
        (Attribution::Broker, tags("claim:team"), true),
        (Attribution::Caller, tags("claim:team"), false),
    ] {
        let label = format!("{attribution:?} {tags:?}");
        let profile = Profile { attribution, session_tags: tags, ..Profile::of_parent("ci".into()) };
        let cached = TestCache::new();
        let settings =
            ecr_broker::broker::Settings { profiles: vec![profile].into(), ..broker_settings(policy_of_jobs(), None) };
        let broker = support::broker(cached.cache.clone(), settings);
        let [one, same_team, other] =
            [("a", "red"), ("b", "red"), ("c", "blue")].map(|(subject, team)| job(subject, team));
        let has_expiry = |caller: &Caller| {
            let page = broker.registries(caller, None, 10);
            let named = page.entries.iter().find(|(listing, _)| listing.name == at(1, "eu-central-1"));
            named.unwrap().1.is_some()
        };
        assert!(!has_expiry(&one), "{label}");
        for (caller, listed) in [(&one, [true, shares, false]), (&other, [true, shares, true])] {
            let request = credential_request(&at(1, "eu-central-1"), Duration::ZERO);
            let context = RequestContext { caller: caller.clone(), ..request.context };
            let request = CredentialRequest { context, profile: Some("ci".into()), ..request };
            broker.registry_credentials(request).await.unwrap();
            assert_eq!([&one, &same_team, &other].map(has_expiry), listed, "{label}");
        }
        assert_eq!(cached.source.calls(), 2, "{label}");
    }
}

fn policy_of_jobs() -> Policy {
    let token = TokenPattern { issuer: "blue".into(), subject: None, claims: Vec::new() };
    let callers = vec![CallerPattern::Token(token)];
    let grant = grant("jobs", private(&[1], &["eu-central-1"]), Effect::Allow);
    Policy::Grants(vec![Grant { callers, profile: Some("ci".into()), ..grant }])
}

/// Returns a job of a team.
fn job(subject: &str, team: &str) -> Caller {
    let caller: Caller = format!("jwt:blue:{subject}").parse().unwrap();
    caller.with_claims(BTreeMap::from([("team".to_owned(), team.to_owned())])).unwrap()
}
