//! Adoption of pushed updates by the cache.

use std::time::Duration;

use ecr_broker::cache::CacheStatus;
use ecr_broker::clock::Clock as _;
use ecr_broker::credential::{Credential, CredentialId};
use ecr_broker::error::{FailureClass, SourceName, UpstreamError};
use ecr_broker::source::push::{Adopted, Outcome, Pushed};
use futures_util::FutureExt as _;

use crate::support::*;

/// The credential that a parent pushes, which ends in `remaining`.
fn credential(test: &TestCache, password: &str, remaining: Duration) -> Credential {
    let now = test.clock.now();
    let pushed = Credential::new(SourceName::Aws, "AWS", password, now.wall, now.wall + remaining, now).unwrap();
    pushed.with_source_refresh(HOUR)
}

async fn push(test: &TestCache, password: &str, remaining: Duration) -> Outcome {
    test.cache.adopt(&key(HOST), Pushed::Credential(credential(test, password, remaining))).await.outcome
}

async fn fail(test: &TestCache, class: FailureClass) -> Outcome {
    test.cache.adopt(&key(HOST), Pushed::Failed(UpstreamError::aws(class).into())).await.outcome
}

async fn confirm(test: &TestCache, id: CredentialId) -> Outcome {
    test.cache.adopt(&key(HOST), Pushed::Unchanged(id)).await.outcome
}

async fn hit(test: &TestCache) -> (CredentialId, CacheStatus) {
    let found = test.cache.get(lookup(HOST)).await.unwrap();
    (found.credential.id(), found.status)
}

#[tokio::test]
async fn pushed_credential_replaces_one_that_ends_sooner() {
    let test = TestCache::new();
    let (first, _) = hit(&test).await;
    let mut changes = test.cache.subscribe(&key(HOST)).unwrap();
    test.clock.advance(MINUTE);
    assert_eq!(push(&test, "pushed", 12 * HOUR).await, Outcome::Replaced);
    changes.next().now_or_never().expect("the key's watches are notified");
    let (pushed, status) = hit(&test).await;
    assert!(pushed != first && status == CacheStatus::Hit);
    assert_eq!(push(&test, "sooner", 11 * HOUR).await, Outcome::Ignored);
    let Adopted { outcome, uses } = test.cache.adopt(&key(HOST), Pushed::Unchanged(pushed)).await;
    assert_eq!((outcome, uses, test.source.calls()), (Outcome::Confirmed, 1, 1));
}

#[tokio::test]
async fn push_adds_no_key() {
    let test = TestCache::new();
    assert_eq!(push(&test, "pushed", 12 * HOUR).await, Outcome::Absent);
    assert_eq!(fail(&test, FailureClass::Denied).await, Outcome::Absent);
    assert!(!test.cache.has(&key(HOST)).await);
    hit(&test).await;
    assert_eq!(fail(&test, FailureClass::Denied).await, Outcome::Dropped);
    assert_eq!(push(&test, "pushed", 12 * HOUR).await, Outcome::Absent, "a denied credential does not come back");
}

#[tokio::test]
async fn p3_pushed_credential_within_the_safety_margin_is_ignored() {
    let test = TestCache::new();
    test.source.then(Step::Token(6 * MINUTE));
    let (first, _) = hit(&test).await;
    test.clock.advance(4 * MINUTE);
    assert_eq!(
        push(&test, "pushed", (5 * MINUTE).checked_sub(Duration::from_secs(1)).unwrap()).await,
        Outcome::Ignored
    );
    assert_eq!(push(&test, "pushed", 5 * MINUTE).await, Outcome::Replaced);
    assert_ne!(hit(&test).await.0, first);
}

#[tokio::test]
async fn rejected_credential_does_not_come_back_by_a_push() {
    let test = TestCache::new();
    let (rejected, _) = hit(&test).await;
    test.source.then(Step::Token(11 * HOUR));
    let replaced = test.cache.get(lookup_rejecting(HOST, rejected)).await.unwrap().credential.id();
    assert_eq!(push(&test, "password-1", 12 * HOUR).await, Outcome::Ignored);
    assert_eq!(hit(&test).await.0, replaced);
    assert_eq!(push(&test, "new", 12 * HOUR).await, Outcome::Replaced);
    test.clock.advance(HOUR);
    assert_eq!(push(&test, "password-1", 12 * HOUR).await, Outcome::Ignored, "also after the next one");
}

#[tokio::test]
async fn p5_pushed_failure_marks_the_credential_and_its_end_clears_the_mark() {
    let test = TestCache::new();
    let (id, _) = hit(&test).await;
    assert_eq!(fail(&test, FailureClass::Unavailable).await, Outcome::Stale);
    assert_eq!(hit(&test).await, (id, CacheStatus::Stale));
    let state = test.cache.refresh_state(&lookup(HOST)).await;
    assert!(state.failure.is_some(), "the failure has a backoff, as that of a refresh");
    assert_eq!(confirm(&test, id).await, Outcome::Confirmed);
    assert_eq!(hit(&test).await, (id, CacheStatus::Hit));
    assert!(test.cache.refresh_state(&lookup(HOST)).await.failure.is_none());
    fail(&test, FailureClass::Throttled).await;
    test.clock.advance(MINUTE);
    assert_eq!(push(&test, "pushed", 12 * HOUR).await, Outcome::Replaced);
    assert_eq!(hit(&test).await.1, CacheStatus::Hit);
}

#[tokio::test]
async fn confirmation_of_another_credential_says_nothing() {
    let test = TestCache::new();
    let (id, _) = hit(&test).await;
    fail(&test, FailureClass::Unavailable).await;
    let other = CredentialId::parse(&"0".repeat(32)).unwrap();
    assert_eq!(confirm(&test, other).await, Outcome::Ignored);
    assert_eq!(hit(&test).await, (id, CacheStatus::Stale));
}

#[tokio::test]
async fn p5_stale_credential_of_a_live_watch_is_asked_for_again_after_minutes() {
    let test = TestCache::new();
    hit(&test).await;
    test.clock.advance(2 * HOUR);
    fail(&test, FailureClass::Unavailable).await;
    test.clock.advance(4 * MINUTE);
    hit(&test).await;
    assert_eq!(test.source.calls(), 1, "the parent reports the end of the failure");
    test.clock.advance(2 * MINUTE);
    hit(&test).await;
    test.source.until_calls(2).await;
}

#[tokio::test]
async fn p4_overdue_push_is_asked_for_within_minutes_of_the_refresh() {
    let mut due = Vec::new();
    for _ in 0..200 {
        let test = TestCache::new();
        hit(&test).await;
        test.clock.advance(MINUTE);
        assert_eq!(push(&test, "pushed", 12 * HOUR).await, Outcome::Replaced);
        test.clock.advance((HOUR + MINUTE).checked_sub(Duration::from_secs(1)).unwrap());
        let state = test.cache.refresh_state(&lookup(HOST)).await;
        due.push(state.due_in.expect("no refresh before the push is overdue"));
    }
    let (first, last) = (due.iter().min().unwrap(), due.iter().max().unwrap());
    assert!(*first < MINUTE && *last > 5 * MINUTE && *last <= 7 * MINUTE, "{first:?} to {last:?}");
}

#[tokio::test]
async fn p4_short_lived_push_is_refreshed_long_before_the_margin() {
    let test = TestCache::new();
    test.source.then(Step::Token(11 * MINUTE));
    hit(&test).await;
    test.clock.advance(3 * MINUTE);
    push(&test, "pushed", 20 * MINUTE).await;
    test.clock.advance(12 * MINUTE);
    hit(&test).await;
    test.source.until_calls(2).await;
}

#[tokio::test]
async fn p1_fetch_that_ends_after_a_push_keeps_the_pushed_credential() {
    let test = TestCache::new();
    hit(&test).await;
    test.clock.advance(2 * HOUR);
    test.source.shut();
    test.source.then(Step::Token(11 * HOUR));
    hit(&test).await;
    test.source.until_calls(2).await;
    assert_eq!(push(&test, "pushed", 12 * HOUR).await, Outcome::Replaced);
    let (pushed, _) = hit(&test).await;
    test.source.open();
    test.cache.wait_for_fetches(MINUTE).await;
    assert_eq!(hit(&test).await.0, pushed);
}

#[tokio::test]
async fn refreshes_of_children_return_spread_over_30_seconds() {
    let children: Vec<_> = (0..60).map(|_| TestCache::new()).collect();
    for child in &children {
        hit(child).await;
        child.clock.advance(MINUTE);
        push(child, "pushed", 12 * HOUR).await;
        child.source.fail(FailureClass::Unavailable);
        child.clock.advance(HOUR);
    }
    // The parent is down for 15 minutes, and callers ask each child every second.
    let second = async |child: &TestCache| {
        child.clock.advance(Duration::from_secs(1));
        hit(child).await;
        tokio::task::yield_now().await;
        child.source.calls()
    };
    for _ in 0..900 {
        for child in &children {
            second(child).await;
        }
    }
    let mut returned = Vec::new();
    for child in &children {
        child.source.then(Step::Token(12 * HOUR));
        let before = child.source.calls();
        let mut seconds = 1;
        while second(child).await == before {
            seconds += 1;
        }
        returned.push(seconds);
    }
    let most = (0..10).map(|part| returned.iter().filter(|seconds| **seconds / 3 == part).count()).max();
    assert!(returned.iter().all(|seconds| *seconds <= 31) && most <= Some(20), "{returned:?}");
}

#[tokio::test]
async fn p6_miss_of_a_caller_goes_at_once_while_refreshes_back_off() {
    let test = TestCache::new();
    hit(&test).await;
    test.clock.advance(2 * HOUR);
    test.source.fail(FailureClass::Unavailable);
    hit(&test).await;
    test.source.until_calls(2).await;
    test.source.then(Step::Token(12 * HOUR));
    test.cache.get(lookup(&host(7))).await.unwrap();
    assert_eq!(test.source.calls(), 3);
}
