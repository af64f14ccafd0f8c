//! Parents that are lost, stop, deny or refuse, and AWS outages behind them.

use std::time::Duration;

use ecr_broker::cache::CacheStatus;
use ecr_broker::error::FailureClass;
use ecr_broker::metrics::Format;
use ecr_broker::policy::Policy;
use ecr_broker::source::push::Outcome;
use tokio::time::{advance, pause, resume};

use crate::child::{Child, Wire};
use crate::scraped::Scraped;
use crate::support::*;

/// Advances the timers only, not the brokers' clock.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

async fn refresh(parent: &TestBroker) {
    let mut changes = parent.cache.subscribe(&key(HOST)).unwrap();
    parent.cache.get(lookup(HOST)).await.unwrap();
    changes.next().await;
}

async fn status(child: &Child) -> Option<CacheStatus> {
    child.cache.get(lookup(HOST)).await.ok().map(|found| found.status)
}

#[tokio::test]
async fn child_of_a_killed_parent_serves_until_expiry_less_margin() {
    let parent = TestBroker::start();
    let mut wire = Wire::to(parent.tcp).await;
    let mut child = Child::start(&[wire.address], &parent.clock);
    child.get(HOST).await;
    child.until(Outcome::Confirmed, 1).await;
    wire.cut().await;
    child.until_watch_ended("lost").await;
    parent.source.fail(FailureClass::Unavailable);
    for _ in 0..11 {
        parent.clock.advance(HOUR);
        assert!(status(&child).await.is_some());
    }
    child.cache.wait_for_fetches(MINUTE).await;
    parent.clock.advance(54 * MINUTE);
    assert_eq!(status(&child).await, Some(CacheStatus::Stale));
    parent.clock.advance(2 * MINUTE);
    assert_eq!(status(&child).await, None, "less than the margin is left");

    parent.source.then(Step::Token(12 * HOUR));
    wire.restore().await;
    child.get(&host(7)).await;
    pass(Duration::from_secs(31)).await;
    child.until(Outcome::Confirmed, 2).await;
}

#[tokio::test]
async fn watch_that_returns_brings_what_the_child_has_missed() {
    let parent = TestBroker::start();
    let mut wire = Wire::to(parent.tcp).await;
    let mut child = Child::start(&[wire.address], &parent.clock);
    let first = child.get(HOST).await;
    child.until(Outcome::Confirmed, 1).await;
    wire.cut().await;
    child.until_watch_ended("lost").await;
    parent.clock.advance(2 * HOUR);
    refresh(&parent).await;
    wire.restore().await;
    pass(Duration::from_secs(31)).await;
    child.until(Outcome::Replaced, 1).await;
    assert_ne!(child.get(HOST).await, first);
    assert_eq!(child.metric("ecr_broker_parent_watch_ends_total", ("cause", "lost")), 1.0);
    refresh_reaches(&parent, &mut child).await;
}

async fn refresh_reaches(parent: &TestBroker, child: &mut Child) {
    let before = child.updates.borrow().iter().filter(|update| update.outcome == Outcome::Replaced).count();
    parent.clock.advance(2 * HOUR);
    refresh(parent).await;
    child.until(Outcome::Replaced, before + 1).await;
}

fn is_watched(parent: &TestBroker) -> bool {
    let scraped = Scraped::parse(&parent.exposition.encode(Format::Prometheus));
    scraped.samples.iter().any(|sample| sample.name == "ecr_broker_watches" && sample.value == 1.0)
}

#[tokio::test]
async fn watch_on_an_address_that_stops_moves_to_another_at_once() {
    let one = TestBroker::start();
    let cache = TestCache { clock: one.clock.clone(), source: ScriptedSource::new(&one.clock), ..TestCache::new() };
    let other = TestBroker::start_on(cache, Policy::Open, None, |_| ());
    let mut child = Child::start(&[one.tcp, other.tcp], &one.clock);
    child.get(HOST).await;
    child.until(Outcome::Confirmed, 1).await;
    let (watched, rest) = if is_watched(&one) { (one, other) } else { (other, one) };
    let stopped = watched.stop();
    stopped.await;
    child.until_watch_ended("orderly").await;
    pass(Duration::from_secs(2)).await;
    // The tokens of the scripted sources are the same.
    child.until(Outcome::Confirmed, 2).await;
    assert_eq!(child.metric("ecr_broker_parent_watch_ends_total", ("cause", "lost")), 0.0);
    assert!(is_watched(&rest));
    refresh_reaches(&rest, &mut child).await;
}

#[tokio::test]
async fn p5_denial_that_a_parent_pushes_drops_the_credential() {
    let parent = TestBroker::start();
    let mut child = Child::start(&[parent.tcp], &parent.clock);
    child.get(HOST).await;
    child.until(Outcome::Confirmed, 1).await;
    parent.broker.set_policy(Policy::Grants(Vec::new()));
    pass(Duration::from_secs(67)).await;
    child.until(Outcome::Dropped, 1).await;
    assert!(!child.cache.has(&key(HOST)).await);
    assert_eq!(child.metric("ecr_broker_parent_watched_keys", ("parent", "central")), 0.0);
}

#[tokio::test]
async fn p5_failure_that_a_parent_pushes_marks_the_credential_until_it_ends() {
    let parent = TestBroker::start();
    let mut child = Child::start(&[parent.tcp], &parent.clock);
    child.get(HOST).await;
    child.until(Outcome::Confirmed, 1).await;
    parent.source.fail(FailureClass::Unavailable);
    parent.clock.advance(HOUR + 10 * MINUTE);
    refresh(&parent).await;
    child.until(Outcome::Stale, 1).await;
    assert_eq!(status(&child).await, Some(CacheStatus::Stale));
    parent.source.then(Step::Token(12 * HOUR));
    parent.clock.advance(MINUTE);
    refresh(&parent).await;
    child.until(Outcome::Replaced, 1).await;
    assert_eq!(status(&child).await, Some(CacheStatus::Hit));
}

#[tokio::test]
async fn child_whose_watches_are_refused_asks_by_unary_calls() {
    let parent = TestBroker::start_with(|setup| setup.config.limits.watch_memory = 1);
    let child = Child::start(&[parent.tcp], &parent.clock);
    let first = child.get(HOST).await;
    pass(Duration::from_secs(1)).await;
    child.until_watch_ended("refused").await;
    parent.clock.advance(2 * HOUR);
    refresh(&parent).await;
    let mut changes = child.cache.subscribe(&key(HOST)).unwrap();
    child.get(HOST).await;
    changes.next().await;
    assert_ne!(child.get(HOST).await, first);
}
