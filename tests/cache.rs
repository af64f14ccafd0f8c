//! Guarantees of the cache (docs/guarantees.md), on a clock that the tests set.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::unchecked_time_subtraction, reason = "a test may")]

mod support;

use std::time::Duration;

use ecr_broker::cache::{CacheStatus, Lookup, Settings};
use ecr_broker::caller::{Caller, Principal};
use ecr_broker::credential::{CredentialKey, Revision};
use ecr_broker::error::{BrokerError, FailureClass, UpstreamError};
use ecr_broker::hops::ChainProblem;
use ecr_broker::registry::{EndpointVariant, PrivateRegistry, Registry};
use ecr_broker::source::SourceStatus;
use proptest::prelude::*;
use support::*;
use tokio::time::{Instant, timeout};

fn class(error: BrokerError) -> FailureClass {
    match error {
        BrokerError::Upstream(failure) => failure.class,
        other => panic!("not an upstream failure: {other:?}"),
    }
}

fn wait(error: BrokerError) -> Option<Duration> {
    match error {
        BrokerError::Upstream(failure) => failure.retry_after,
        other => panic!("not an upstream failure: {other:?}"),
    }
}

/// The parts of a key: account, region, endpoint variant (FIPS, dual-stack), profile, caller.
type Parts = (Option<u8>, usize, (bool, bool), usize, usize);

fn of_parts((account, region, (fips, dual_stack), profile, caller): Parts) -> CredentialKey {
    let region = ["eu-central-1", "eu-central-2", "us-east-1", "cn-north-1", "us-gov-west-1"].get(region);
    let registry = match region {
        // One public registry exists, whatever the account and FIPS.
        None => Registry::Public { dual_stack },
        Some(region) => {
            let account = account.map(|account| format!("{account:012}").parse().unwrap());
            let variant = EndpointVariant { fips, dual_stack };
            Registry::Private(PrivateRegistry::new(account, region.parse().unwrap(), variant).unwrap())
        }
    };
    let caller = [None, Some("uid:1,gid:1"), Some("spiffe://a.example/b"), Some("jwt:a:b:c"), Some("jwt:a:b")][caller];
    let caller = caller.map(|text| text.parse::<Caller>().unwrap().principal());
    CredentialKey {
        registry,
        profile: ["default", "a", "b"][profile].into(),
        revision: Revision::default(),
        caller,
        lifetime: None,
    }
}

/// Drops the parts that make no difference.
fn distinct((account, region, (fips, dual_stack), profile, caller): Parts) -> Parts {
    let public = region == 5;
    (account.filter(|_| !public), region, (fips && !public, dual_stack), profile, caller)
}

fn parts() -> impl Strategy<Value = Parts> {
    (proptest::option::of(0_u8..3), 0_usize..6, any::<(bool, bool)>(), 0_usize..3, 0_usize..5)
}

/// Two keys that differ in one part at most: the ones that a cache could confuse.
fn pair() -> impl Strategy<Value = (Parts, Parts)> {
    (parts(), parts(), 0..6).prop_map(|(one, new, which)| {
        let mut other = one;
        match which {
            0 => other.0 = new.0,
            1 => other.1 = new.1,
            2 => other.2.0 = new.2.0,
            3 => other.2.1 = new.2.1,
            4 => other.3 = new.3,
            _ => other.4 = new.4,
        }
        (one, other)
    })
}

/// Different keys never share an entry, so a credential never goes to another profile, account or caller.
#[test]
fn p1_each_key_gets_the_credential_minted_for_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((one, other) in pair())| {
        let same = distinct(one) == distinct(other);
        prop_assert_eq!(of_parts(one) == of_parts(other), same);
        runtime.block_on(async {
            let test = TestCache::new();
            let get = async |parts| {
                let lookup = Lookup { key: of_parts(parts), ..lookup(HOST) };
                test.cache.get(lookup).await.unwrap().credential.id()
            };
            let (first, second) = (get(one).await, get(other).await);
            prop_assert_eq!(first == second, same);
            prop_assert_eq!(get(one).await, first);
            Ok(())
        })?;
    });
}

#[tokio::test]
async fn p1_ten_thousand_callers_on_a_cold_key_cause_one_call() {
    let test = TestCache::new();
    test.source.shut();
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let cache = test.cache.clone();
            tokio::spawn(async move { cache.get(lookup(HOST)).await })
        })
        .collect();
    test.source.until_calls(1).await;
    test.source.open();
    let mut misses = 0;
    let mut passwords = std::collections::HashSet::new();
    for caller in callers {
        let found = caller.await.unwrap().unwrap();
        misses += u32::from(found.status == CacheStatus::Miss);
        passwords.insert(found.credential.password().expose().to_owned());
    }
    assert_eq!((test.source.calls(), misses, passwords.len()), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_hundred_keys_with_a_hundred_callers_each_cause_a_hundred_calls() {
    let test = TestCache::new();
    test.source.delay(Duration::from_millis(20));
    let callers: Vec<_> = (0..10_000)
        .map(|number| {
            let cache = test.cache.clone();
            tokio::spawn(async move { cache.get(lookup(&host(number % 100))).await })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!((test.source.calls(), test.source.most_in_flight()), (100, 1));
}

#[tokio::test]
async fn p1_keys_differ_in_each_part_of_the_registry() {
    let test = TestCache::new();
    let hosts = [
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
        "123456789013.dkr.ecr.eu-central-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr-fips.eu-central-1.amazonaws.com",
        "123456789012.dkr-ecr.eu-central-1.on.aws",
        "123456789012.dkr-ecr-fips.eu-central-1.on.aws",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "public.ecr.aws",
        "ecr-public.aws.com",
    ];
    for host in hosts {
        assert_eq!(test.cache.get(lookup(host)).await.unwrap().status, CacheStatus::Miss, "{host}");
    }
    for host in hosts {
        assert_eq!(test.cache.get(lookup(host)).await.unwrap().status, CacheStatus::Hit, "{host}");
    }
    assert_eq!(test.source.calls(), 9);
}

#[tokio::test]
async fn p1_flight_of_callers_that_left_serves_the_next_caller() {
    let test = TestCache::new();
    test.source.shut();
    for _ in 0..300 {
        let caller = tokio::spawn({
            let cache = test.cache.clone();
            async move { cache.get(lookup(HOST)).await }
        });
        tokio::task::yield_now().await;
        caller.abort();
    }
    test.source.until_calls(1).await;
    let last = tokio::spawn({
        let cache = test.cache.clone();
        async move { cache.get(lookup(HOST)).await }
    });
    tokio::task::yield_now().await;
    test.source.open();
    assert!(last.await.unwrap().is_ok());
    assert_eq!((test.source.calls(), test.source.most_in_flight()), (1, 1));
}

#[tokio::test]
async fn p2_cancelled_caller_does_not_cancel_the_fetch() {
    let test = TestCache::new();
    test.source.shut();
    let caller = tokio::spawn({
        let cache = test.cache.clone();
        async move { cache.get(lookup(HOST)).await }
    });
    test.source.until_calls(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    test.source.open();
    assert_ne!(test.cache.get(lookup(HOST)).await.unwrap().status, CacheStatus::Miss);
    assert_eq!(test.cache.get(lookup(HOST)).await.unwrap().status, CacheStatus::Hit);
    assert_eq!(test.source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn p2_failure_that_is_tried_again_is_the_cause_of_a_wait_unless_permanent() {
    for (class, reason) in [(FailureClass::Throttled, Some("AWS_THROTTLED")), (FailureClass::Denied, None)] {
        let test = TestCache::new();
        test.source.fail(class);
        test.cache.get(lookup(HOST)).await.unwrap_err();
        // Past the backoff of a denial, within the minute for which a failure counts as the cause.
        test.clock.advance(Duration::from_secs(45));
        test.source.then(Step::Token(12 * HOUR));
        test.source.shut();
        let began = Instant::now();
        let answer_by = Some(began + Duration::from_secs(5));
        let answer = timeout(Duration::from_secs(8), test.cache.get(Lookup { answer_by, ..lookup(HOST) })).await.ok();
        assert_eq!(answer.map(|answer| answer.unwrap_err().reason()), reason, "{class:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(if reason.is_some() { 5 } else { 8 }));
        test.source.open();
        test.cache.wait_for_fetches(HOUR).await;
        assert_eq!(test.cache.get(lookup(HOST)).await.unwrap().status, CacheStatus::Hit, "the fetch went on");
    }
}

#[tokio::test]
async fn p3_credential_within_the_safety_margin_is_never_returned() {
    let test = TestCache::new();
    test.cache.get(lookup(HOST)).await.unwrap();
    test.source.fail(FailureClass::Unavailable);
    test.clock.advance(12 * HOUR - 5 * MINUTE);
    assert_eq!(
        test.cache.get(lookup(HOST)).await.unwrap().credential.remaining(ecr_broker::clock::Clock::now(&*test.clock)),
        5 * MINUTE
    );
    test.clock.advance(Duration::from_millis(1));
    assert_eq!(class(test.cache.get(lookup(HOST)).await.unwrap_err()), FailureClass::Unavailable);
}

#[tokio::test]
async fn p3_caller_that_needs_longer_validity_gets_a_new_credential() {
    let test = TestCache::new();
    test.cache.get(lookup(HOST)).await.unwrap();
    test.clock.advance(3 * HOUR);
    assert_eq!(test.cache.get(lookup_lasting(HOST, 10 * HOUR)).await.unwrap().status, CacheStatus::Miss);
    assert_eq!(test.cache.get(lookup_lasting(HOST, 10 * HOUR)).await.unwrap().status, CacheStatus::Hit);
    assert_eq!(test.source.calls(), 2);
}

#[tokio::test]
async fn p3_unreachable_validity_is_refused_without_further_calls() {
    let test = TestCache::new();
    test.source.then(Step::Token(HOUR));
    for _ in 0..10 {
        let refused = test.cache.get(lookup_lasting(HOST, 3 * HOUR)).await.unwrap_err();
        assert!(matches!(refused, BrokerError::ValidityUnsatisfiable { .. }), "{refused:?}");
    }
    assert_eq!(test.source.calls(), 1);
}

#[tokio::test]
async fn p3_refused_validity_is_tried_again_when_the_credential_is_due() {
    let test = TestCache::new();
    test.source.then(Step::Token(HOUR));
    test.cache.get(lookup_lasting(HOST, 3 * HOUR)).await.unwrap_err();
    test.source.then(Step::Token(12 * HOUR));
    test.cache.get(lookup_lasting(HOST, 3 * HOUR)).await.unwrap_err();
    test.clock.advance(35 * MINUTE);
    assert_eq!(test.cache.get(lookup_lasting(HOST, 3 * HOUR)).await.unwrap().status, CacheStatus::Miss);
}

#[tokio::test]
async fn p3_expired_credential_is_never_returned_without_a_margin() {
    let test = TestCache::with(Settings { safety_margin: Duration::ZERO, ..cache_settings() });
    test.cache.get(lookup(HOST)).await.unwrap();
    test.source.fail(FailureClass::Unavailable);
    test.clock.advance(12 * HOUR);
    test.cache.get(lookup(HOST)).await.unwrap_err();
}

#[tokio::test]
async fn p3_new_credential_within_the_margin_is_an_invalid_response() {
    let test = TestCache::new();
    test.source.then(Step::Token(4 * MINUTE));
    assert_eq!(class(test.cache.get(lookup(HOST)).await.unwrap_err()), FailureClass::InvalidResponse);
}

#[tokio::test]
async fn p4_read_past_the_refresh_time_starts_one_background_refresh() {
    let test = TestCache::new();
    test.cache.get(lookup(HOST)).await.unwrap();
    test.clock.advance(54 * MINUTE - Duration::from_secs(1));
    test.cache.get(lookup(HOST)).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(test.source.calls(), 1, "not before 54 minutes: an hour minus the jitter");

    test.clock.advance(12 * MINUTE + Duration::from_secs(1));
    test.source.shut();
    for _ in 0..100 {
        assert_eq!(test.cache.get(lookup(HOST)).await.unwrap().status, CacheStatus::Hit);
    }
    test.source.until_calls(2).await;
    assert_eq!(test.cache.get(lookup(HOST)).await.unwrap().credential.password().expose(), "password-1");
    test.source.open();
    test.cache.wait_for_fetches(HOUR).await;
    let refreshed = test.cache.get(lookup(HOST)).await.unwrap();
    assert_eq!((&*refreshed.credential.password().expose(), refreshed.status), ("password-2", CacheStatus::Hit));
    assert_eq!(test.source.calls(), 2);
}

#[tokio::test]
async fn p4_refresh_that_a_source_refuses_is_not_repeated_at_each_hit() {
    let test = TestCache::new();
    test.cache.get(lookup(HOST)).await.unwrap();
    test.source.then(Step::Refuse(BrokerError::Chain(ChainProblem::TooLong)));
    test.clock.advance(2 * HOUR);
    for _ in 0..10 {
        test.cache.get(lookup(HOST)).await.unwrap();
        test.cache.wait_for_fetches(HOUR).await;
    }
    assert_eq!(test.source.calls(), 2);
    test.clock.advance(MINUTE);
    test.source.then(Step::Token(12 * HOUR));
    test.cache.get(lookup(HOST)).await.unwrap();
    test.cache.wait_for_fetches(HOUR).await;
    assert_eq!(test.source.calls(), 3);
}

#[tokio::test]
async fn p4_short_lived_credential_is_refreshed_at_half_its_life() {
    let test = TestCache::new();
    test.source.then(Step::Token(HOUR));
    let found = test.cache.get(lookup(HOST)).await.unwrap();
    assert!((27 * MINUTE..=33 * MINUTE).contains(&found.refresh_after), "{:?}", found.refresh_after);
}

#[tokio::test]
async fn p4_refresh_times_have_jitter() {
    let test = TestCache::new();
    let mut times = std::collections::HashSet::new();
    for number in 0..50 {
        let found = test.cache.get(lookup(&host(number))).await.unwrap();
        assert!((54 * MINUTE..=66 * MINUTE).contains(&found.refresh_after), "{:?}", found.refresh_after);
        times.insert(found.refresh_after);
    }
    assert!(times.len() > 40, "{} of 50 differ", times.len());
}

#[tokio::test]
async fn p4_refresh_after_is_a_minute_at_least_and_never_past_the_end() {
    let test = TestCache::with(Settings { safety_margin: Duration::from_secs(10), ..cache_settings() });
    test.cache.get(lookup(HOST)).await.unwrap();
    test.source.fail(FailureClass::Unavailable);
    test.clock.advance(2 * HOUR);
    assert_eq!(test.cache.get(lookup(HOST)).await.unwrap().refresh_after, MINUTE);
    test.clock.advance(10 * HOUR - Duration::from_secs(20));
    assert_eq!(test.cache.get(lookup(HOST)).await.unwrap().refresh_after, Duration::from_secs(20));
}

#[tokio::test]
async fn p5_outage_of_ten_hours_and_48_minutes_costs_a_warm_key_no_error() {
    for failing in [
        FailureClass::Throttled,
        FailureClass::Unavailable,
        FailureClass::InvalidResponse,
        FailureClass::NoCredentials,
        FailureClass::Misconfigured,
    ] {
        let test = TestCache::new();
        test.cache.get(lookup(HOST)).await.unwrap();
        test.clock.advance(66 * MINUTE);
        test.source.fail(failing);
        let mut served = 0;
        for _ in 0..650 {
            let found = test.cache.get(lookup(HOST)).await.unwrap();
            served += u32::from(found.status == CacheStatus::Stale);
            tokio::task::yield_now().await;
            test.clock.advance(MINUTE);
        }
        assert!(served > 600, "{failing:?}: {served} served stale");
        assert_eq!(class(test.cache.get(lookup(HOST)).await.unwrap_err()), failing);
        test.source.then(Step::Token(12 * HOUR));
        test.clock.advance(MINUTE);
        assert_eq!(test.cache.get(lookup(HOST)).await.unwrap().status, CacheStatus::Miss, "the key recovers");
    }
}

/// STALE means that the credential itself could not be refreshed.
#[tokio::test]
async fn p5_failed_fetch_for_longer_validity_leaves_the_cached_one_a_hit() {
    let test = TestCache::new();
    let cached = test.cache.get(lookup(HOST)).await.unwrap().credential.id();
    test.clock.advance(30 * MINUTE);
    test.source.fail(FailureClass::Unavailable);
    let status = async || test.cache.get(lookup(HOST)).await.unwrap().status;
    let lookups = [lookup_lasting(HOST, 11 * HOUR + 45 * MINUTE), lookup_rejecting(HOST, cached)];
    for failing in lookups {
        assert_eq!(class(test.cache.get(failing).await.unwrap_err()), FailureClass::Unavailable);
        assert_eq!(status().await, CacheStatus::Hit);
        test.clock.advance(MINUTE);
    }
    assert_eq!(test.source.calls(), 3);
    // Past its refresh time, each failed fetch is a failed refresh.
    test.clock.advance(35 * MINUTE);
    test.cache.get(lookup_lasting(HOST, 11 * HOUR)).await.unwrap_err();
    assert_eq!(status().await, CacheStatus::Stale);
}

#[tokio::test]
async fn p5_denied_credential_is_dropped() {
    let test = TestCache::new();
    test.cache.get(lookup(HOST)).await.unwrap();
    test.clock.advance(66 * MINUTE);
    test.source.fail(FailureClass::Denied);
    test.cache.get(lookup(HOST)).await.unwrap();
    test.cache.wait_for_fetches(HOUR).await;
    assert_eq!(class(test.cache.get(lookup(HOST)).await.unwrap_err()), FailureClass::Denied);
    assert_eq!(test.cache.cached_count(), 0);
}

#[tokio::test]
async fn p6_failure_backoff_doubles_to_30_seconds() {
    let test = TestCache::new();
    test.source.fail(FailureClass::Throttled);
    let mut backoffs = Vec::new();
    for _ in 0..9 {
        let backoff = wait(test.cache.get(lookup(HOST)).await.unwrap_err()).unwrap();
        let calls = test.source.calls();
        test.clock.advance(backoff - Duration::from_millis(1));
        assert_eq!(wait(test.cache.get(lookup(HOST)).await.unwrap_err()), Some(Duration::from_millis(1)));
        assert_eq!(test.source.calls(), calls, "no call during the backoff");
        test.clock.advance(Duration::from_millis(1));
        backoffs.push(backoff.as_millis());
    }
    assert_eq!(backoffs, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    test.source.then(Step::Token(12 * HOUR));
    assert_eq!(test.cache.get(lookup(HOST)).await.unwrap().status, CacheStatus::Miss);
}

#[tokio::test]
async fn p6_backoff_is_as_long_as_aws_asks_within_limits() {
    for (asked, backoff) in [(3, 3), (0, 0), (86_400, 300)] {
        let test = TestCache::new();
        let failure = UpstreamError::aws(FailureClass::Throttled);
        test.source.then(Step::Fail(UpstreamError { retry_after: Some(Duration::from_secs(asked)), ..failure }));
        let expected = Duration::from_secs(backoff).max(Duration::from_millis(500));
        assert_eq!(wait(test.cache.get(lookup(HOST)).await.unwrap_err()), Some(expected), "{asked}");
    }
}

#[tokio::test]
async fn p6_denial_has_a_backoff_of_30_seconds_and_no_retry_delay() {
    let test = TestCache::new();
    test.source.fail(FailureClass::Denied);
    for _ in 0..30 {
        assert_eq!(wait(test.cache.get(lookup(HOST)).await.unwrap_err()), None);
        test.clock.advance(Duration::from_millis(999));
    }
    assert_eq!(test.source.calls(), 1);
    test.clock.advance(Duration::from_secs(1));
    test.cache.get(lookup(HOST)).await.unwrap_err();
    assert_eq!(test.source.calls(), 2);
}

#[tokio::test]
async fn p6_failure_of_one_key_leaves_other_keys_alone() {
    let test = TestCache::new();
    test.source.fail(FailureClass::Unavailable);
    test.cache.get(lookup(&host(1))).await.unwrap_err();
    test.source.then(Step::Token(12 * HOUR));
    test.cache.get(lookup(&host(2))).await.unwrap();
}

#[tokio::test]
async fn p6_waiting_callers_share_one_failure() {
    let test = TestCache::new();
    test.source.shut();
    test.source.fail(FailureClass::Unavailable);
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let cache = test.cache.clone();
            tokio::spawn(async move { cache.get(lookup(HOST)).await })
        })
        .collect();
    test.source.until_calls(1).await;
    test.source.open();
    for caller in callers {
        assert_eq!(class(caller.await.unwrap().unwrap_err()), FailureClass::Unavailable);
    }
    assert_eq!(test.source.calls(), 1);
}

#[tokio::test]
async fn p8_full_cache_evicts_old_keys_for_new_ones() {
    let test = TestCache::with(Settings { capacity: 10, ..cache_settings() });
    for number in 0..100 {
        test.cache.get(lookup(&host(number))).await.unwrap();
        assert_eq!(test.cache.get(lookup(&host(number))).await.unwrap().status, CacheStatus::Hit, "{number}");
    }
    test.cache.sweep().await;
    assert!(test.cache.cached_count() <= 10, "{}", test.cache.cached_count());
}

#[tokio::test]
async fn p8_credentials_of_single_callers_have_their_own_capacity() {
    let test = TestCache::with(Settings { capacity: 320, ..cache_settings() });
    for number in 0..320 {
        test.cache.get(lookup(&host(number))).await.unwrap();
    }
    let of = |uid: u32, number: usize| {
        let shared = lookup(&host(number));
        Lookup { key: CredentialKey { caller: Some(Principal::Uid(uid)), ..shared.key.clone() }, ..shared }
    };
    let status = async |uid, number| test.cache.get(of(uid, number)).await.unwrap().status;
    // An eighth of 320 for all callers, and a sixteenth of that for each.
    for number in [0, 1] {
        assert_eq!(status(0, number).await, CacheStatus::Miss);
    }
    assert_eq!(status(0, 0).await, CacheStatus::Hit, "the other one is the least recently used");
    assert_eq!(status(0, 2).await, CacheStatus::Miss);
    assert_eq!((status(0, 0).await, status(0, 2).await), (CacheStatus::Hit, CacheStatus::Hit));
    assert_eq!(status(0, 1).await, CacheStatus::Miss, "it was evicted");
    for uid in 1..39 {
        assert_eq!(status(uid, 0).await, CacheStatus::Miss);
    }
    assert_eq!(test.source.calls(), 320 + 4 + 38);
    // The share of all is used up: each further caller evicts the one that has waited longest.
    assert_eq!(status(39, 0).await, CacheStatus::Miss);
    assert_eq!(status(0, 1).await, CacheStatus::Hit, "used after the other one of its caller");
    assert_eq!(status(0, 2).await, CacheStatus::Miss, "evicted for the last caller");
    for number in 0..320 {
        assert_eq!(test.cache.get(lookup(&host(number))).await.unwrap().status, CacheStatus::Hit);
    }
    test.clock.advance(11 * HOUR);
    assert_eq!(status(39, 0).await, CacheStatus::Hit, "refreshed like any other");
}

#[tokio::test]
async fn p8_waiter_above_the_limit_is_refused_and_hits_are_not() {
    let test = TestCache::with(Settings { max_waiters: 2, ..cache_settings() });
    test.cache.get(lookup(&host(9))).await.unwrap();
    test.source.shut();
    let waiting: Vec<_> = (0..2)
        .map(|number| {
            let cache = test.cache.clone();
            tokio::spawn(async move { cache.get(lookup(&host(number))).await })
        })
        .collect();
    test.source.until_calls(3).await;
    assert_eq!(
        test.cache.get(lookup(&host(3))).await.unwrap_err(),
        BrokerError::Overloaded { resource: "waiting callers", retry_after: Duration::from_secs(1) }
    );
    assert_eq!(test.cache.get(lookup(&host(9))).await.unwrap().status, CacheStatus::Hit);
    test.source.open();
    for waiter in waiting {
        waiter.await.unwrap().unwrap();
    }
    test.cache.get(lookup(&host(3))).await.unwrap();
}

#[tokio::test]
async fn p8_caller_that_leaves_frees_its_waiter_and_its_fetch_continues() {
    let test = TestCache::with(Settings { max_waiters: 2, ..cache_settings() });
    test.source.shut();
    let wait = |host: String| {
        let cache = test.cache.clone();
        tokio::spawn(async move { cache.get(lookup(&host)).await })
    };
    let first = wait(host(0));
    test.source.until_calls(1).await;
    for _ in 0..100 {
        // The runtime has one thread: the task runs until it waits.
        let follower = wait(host(0));
        tokio::task::yield_now().await;
        assert_eq!(
            test.cache.get(lookup(&host(1))).await.unwrap_err(),
            BrokerError::Overloaded { resource: "waiting callers", retry_after: Duration::from_secs(1) }
        );
        follower.abort();
        assert!(follower.await.unwrap_err().is_cancelled());
        tokio::task::yield_now().await;
    }
    first.abort();
    let other = wait(host(1));
    test.source.until_calls(2).await;
    test.source.open();
    other.await.unwrap().unwrap();
    assert_eq!(
        test.cache.get(lookup(&host(0))).await.unwrap().status,
        CacheStatus::Hit,
        "the first caller's fetch continued"
    );
    assert_eq!(test.source.calls(), 2);
}

#[tokio::test]
async fn p14_stepped_clock_never_returns_an_expired_credential() {
    for step_back in [true, false] {
        let test = TestCache::new();
        test.cache.get(lookup(HOST)).await.unwrap();
        test.source.fail(FailureClass::Unavailable);
        test.clock.advance(8 * HOUR);
        if step_back {
            test.clock.step_wall_back(6 * HOUR);
        } else {
            test.clock.step_wall_forward(6 * HOUR);
        }
        let answer = test.cache.get(lookup(HOST)).await;
        assert_eq!(answer.is_ok(), step_back, "8 hours of 12 have passed, or 14");
        test.clock.advance(4 * HOUR);
        test.cache.get(lookup(HOST)).await.unwrap_err();
    }
}

#[tokio::test]
async fn thousand_reports_of_one_rejected_credential_cause_one_call() {
    let test = TestCache::new();
    test.source.delay(Duration::from_millis(5));
    let rejected = test.cache.get(lookup(HOST)).await.unwrap().credential.id();
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let cache = test.cache.clone();
            tokio::spawn(async move { cache.get(lookup_rejecting(HOST, rejected)).await })
        })
        .collect();
    for caller in callers {
        assert_ne!(caller.await.unwrap().unwrap().credential.id(), rejected);
    }
    assert_eq!(test.source.calls(), 2);
}

#[tokio::test]
async fn rejected_credential_is_replaced_once_a_minute_and_never_returned() {
    let test = TestCache::new();
    test.source.then(Step::SameToken(12 * HOUR));
    let rejected = test.cache.get(lookup(HOST)).await.unwrap().credential.id();
    for _ in 0..10 {
        let error = test.cache.get(lookup_rejecting(HOST, rejected)).await.unwrap_err();
        assert_eq!(class(error), FailureClass::InvalidResponse);
        test.clock.advance(Duration::from_secs(5));
    }
    assert_eq!(test.source.calls(), 2, "the first fetch and one replacement");
    assert_eq!(test.cache.get(lookup(HOST)).await.unwrap().status, CacheStatus::Hit, "other callers still get it");
    test.clock.advance(MINUTE);
    test.cache.get(lookup_rejecting(HOST, rejected)).await.unwrap_err();
    assert_eq!(test.source.calls(), 3);
}

#[tokio::test]
async fn rejected_credential_is_an_error_if_its_replacement_fails() {
    let test = TestCache::new();
    let rejected = test.cache.get(lookup(HOST)).await.unwrap().credential.id();
    test.source.fail(FailureClass::Throttled);
    for _ in 0..5 {
        assert_eq!(class(test.cache.get(lookup_rejecting(HOST, rejected)).await.unwrap_err()), FailureClass::Throttled);
        test.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(test.source.calls(), 2, "one replacement a minute, even if it fails");
}

#[tokio::test]
async fn panicking_fetch_is_an_error_for_its_waiters_only() {
    let test = TestCache::new();
    test.source.then(Step::Panic);
    assert_eq!(test.cache.get(lookup(HOST)).await.unwrap_err(), BrokerError::Internal);
    test.clock.advance(MINUTE);
    test.source.then(Step::Token(12 * HOUR));
    test.cache.get(lookup(HOST)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn hanging_fetch_ends_at_its_deadline() {
    let test = TestCache::new();
    test.source.shut();
    assert_eq!(class(test.cache.get(lookup(HOST)).await.unwrap_err()), FailureClass::Unavailable);
    test.source.open();
    test.clock.advance(MINUTE);
    test.cache.get(lookup(HOST)).await.unwrap();
}

#[tokio::test]
async fn replaced_secret_leaves_the_memory() {
    let test = TestCache::new();
    test.source.then(Step::Token(HOUR));
    let replaced = std::sync::Arc::downgrade(&test.cache.get(lookup(HOST)).await.unwrap().credential);
    test.cache.sweep().await;
    assert!(replaced.upgrade().is_some());
    test.source.then(Step::Token(12 * HOUR));
    test.clock.advance(HOUR);
    test.cache.get(lookup(HOST)).await.unwrap();
    test.cache.sweep().await;
    assert!(replaced.upgrade().is_none(), "neither cache keeps the replaced credential");
}

#[tokio::test]
async fn cache_without_a_ready_source_serves_only_what_is_cached() {
    let test = TestCache::new();
    test.source.set_status(SourceStatus::NoCredentials);
    test.cache.check_source().await;
    assert!(!test.cache.can_serve());
    test.source.set_status(SourceStatus::Ready);
    assert!(test.cache.can_serve());
    test.cache.get(lookup(HOST)).await.unwrap();
    test.source.set_status(SourceStatus::NoCredentials);
    assert!(test.cache.source_status() != SourceStatus::Ready && test.cache.can_serve());
}

/// Another broker returns its cached credential. The age is what a replacement may gain.
#[tokio::test]
async fn p3_aged_credential_is_replaced_by_a_longer_one_where_one_exists() {
    let test = TestCache::new();
    test.source.then(Step::AgedToken { age: 5 * HOUR, remaining: 7 * HOUR });
    let aged = test.cache.get(lookup(HOST)).await.unwrap().credential;
    test.source.then(Step::Token(12 * HOUR));
    let longer = test.cache.get(lookup_lasting(HOST, 10 * HOUR)).await.unwrap();
    assert_eq!((longer.status, longer.credential.id() == aged.id()), (CacheStatus::Miss, false));
    assert_eq!(test.source.last_request().min_validity, 10 * HOUR, "the source gets the demand");
}

#[tokio::test]
async fn p3_aged_credential_proves_no_longer_validity_than_its_own_at_issue() {
    let test = TestCache::new();
    test.source.then(Step::AgedToken { age: 5 * HOUR, remaining: 7 * HOUR });
    for _ in 0..10 {
        let refused = test.cache.get(lookup_lasting(HOST, 12 * HOUR + MINUTE)).await.unwrap_err();
        assert!(matches!(refused, BrokerError::ValidityUnsatisfiable { .. }), "{refused:?}");
    }
    assert_eq!(test.source.calls(), 1);
}

#[tokio::test]
async fn p3_source_that_returns_an_aged_credential_again_is_an_error_to_retry() {
    let test = TestCache::new();
    test.source.then(Step::AgedToken { age: 5 * HOUR, remaining: 7 * HOUR });
    for calls in 1..5 {
        let error = test.cache.get(lookup_lasting(HOST, 10 * HOUR)).await.unwrap_err();
        assert!(error.retry_after().is_some(), "{error:?}: not VALIDITY_UNSATISFIABLE, which no retry cures");
        assert_eq!((class(error), test.source.calls()), (FailureClass::InvalidResponse, calls), "one call a request");
    }
    assert_eq!(test.cache.get(lookup_lasting(HOST, 6 * HOUR)).await.unwrap().status, CacheStatus::Hit);
}

#[tokio::test]
async fn p4_aged_credential_is_refreshed_by_its_receipt_and_not_at_every_read() {
    let test = TestCache::new();
    test.source.then(Step::AgedToken { age: 5 * HOUR, remaining: 7 * HOUR });
    for _ in 0..10 {
        test.cache.get(lookup(HOST)).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(test.source.calls(), 1);
    test.clock.advance(66 * MINUTE);
    test.cache.get(lookup(HOST)).await.unwrap();
    test.source.until_calls(2).await;
}

/// A source with a choice of credentials, such as another broker, needs every field.
#[tokio::test(start_paused = true)]
async fn fetch_request_carries_all_that_the_lookup_needs() {
    let test = TestCache::new();
    let wanted = Lookup { caller: Some(Caller::process(7, 8).unwrap()), ..lookup_lasting(HOST, HOUR) };
    let rejected = test.cache.get(wanted.clone()).await.unwrap().credential.id();
    let first = test.source.last_request();
    assert_eq!((first.key, first.min_validity, first.rejected), (key(HOST), HOUR, None));
    assert_eq!((first.requester, first.request_id), (Some(Principal::Uid(7)), wanted.request_id));
    assert_eq!(first.deadline, Instant::now() + FETCH_BUDGET + Duration::from_secs(1));
    assert!(first.parent_span.is_none(), "no span is exported");
    test.cache.get(Lookup { rejected: Some(rejected), ..lookup(HOST) }).await.unwrap();
    let second = test.source.last_request();
    assert_eq!((second.min_validity, second.rejected), (5 * MINUTE, Some(rejected)), "at least the safety margin");
    assert_eq!(second.requester, None);
}

#[tokio::test]
async fn full_call_queue_is_not_held_against_the_key() {
    let test = TestCache::new();
    let retry_after = Duration::from_secs(1);
    test.source.then(Step::QueueFull(retry_after));
    assert_eq!(test.cache.get(lookup(HOST)).await.unwrap_err(), BrokerError::QueueFull { retry_after });
    test.source.then(Step::Token(12 * HOUR));
    assert_eq!(test.cache.get(lookup(HOST)).await.unwrap().status, CacheStatus::Miss);
}
