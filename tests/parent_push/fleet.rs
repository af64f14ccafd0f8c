//! A parent and many children: AWS is called once a key, and a refresh reaches every child by push.

use std::time::Duration;

use ecr_broker::app::{App, Parts};
use ecr_broker::metrics::{Exposition, Format};
use ecr_broker::source::push::Outcome;
use futures_util::future::join_all;
use std::num::NonZeroU32;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::child::{Child, settings};
use crate::scraped::Scraped;
use crate::support::*;

/// Starts a parent with limits for many children on loopback, where all of them are one caller.
fn parent() -> TestBroker {
    TestBroker::start_with(|setup| setup.config.limits.local_requests_per_second = NonZeroU32::new(100_000).unwrap())
}

/// Returns the number of unary calls that the parent has served.
fn unary_calls(parent: &TestBroker) -> f64 {
    let scraped = Scraped::parse(&parent.exposition.encode(Format::Prometheus));
    let is_unary = |method: Option<&String>| method.is_some_and(|method| method.ends_with("/GetRegistryCredentials"));
    let calls = scraped.samples.iter().filter(|sample| sample.name == "rpc_server_call_duration_seconds_count");
    calls.filter(|sample| is_unary(sample.labels.get("rpc_method"))).map(|sample| sample.value).sum()
}

/// Fills the caches of children with the same keys, and lets the parent refresh each. Returns the longest time from a refresh of the
/// parent to its adoption by the last child.
async fn refresh_reaches(children: usize, keys: usize) -> Duration {
    let parent = parent();
    let hosts: Vec<_> = (0..keys).map(host).collect();
    let mut children: Vec<_> = (0..children).map(|_| Child::start(&[parent.tcp], &parent.clock)).collect();
    join_all(children.iter().map(|child| join_all(hosts.iter().map(|host| child.get(host))))).await;
    assert_eq!(parent.source.calls(), keys as u64, "one call a key for all children");
    for child in &mut children {
        child.until(Outcome::Confirmed, keys).await;
        let watched = child.metric("ecr_broker_parent_watched_keys", ("parent", "central"));
        assert_eq!(watched.to_string(), keys.to_string());
    }
    let calls = unary_calls(&parent);
    parent.clock.advance(HOUR + 10 * MINUTE);
    let mut longest = Duration::ZERO;
    for (done, host) in hosts.iter().enumerate() {
        let mut changes = parent.cache.subscribe(&key(host)).unwrap();
        parent.cache.get(lookup(host)).await.unwrap();
        changes.next().await;
        let refreshed = Instant::now();
        for child in &mut children {
            let adopted = child.until(Outcome::Replaced, done + 1).await;
            longest = longest.max(adopted[done].at.saturating_duration_since(refreshed));
        }
    }
    let new =
        join_all(hosts.iter().map(async |host| parent.cache.get(lookup(host)).await.unwrap().credential.id())).await;
    for child in &children {
        let of_child = join_all(hosts.iter().map(|host| child.get(host))).await;
        assert_eq!(of_child, new);
    }
    assert_eq!(parent.source.calls(), 2 * keys as u64, "one call a refresh");
    assert_eq!(unary_calls(&parent), calls, "no child asks for what is pushed");
    longest
}

#[tokio::test]
async fn refresh_of_a_parent_reaches_20_children_by_push() {
    let longest = refresh_reaches(20, 20).await;
    assert!(longest < Duration::from_secs(10), "{longest:?} on a machine under load");
}

#[tokio::test]
#[ignore = "200 children: needs an idle machine"]
async fn refresh_of_a_parent_reaches_200_children_within_a_second() {
    let longest = refresh_reaches(200, 20).await;
    println!("longest time from the parent's refresh to a child's: {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

fn confirmed(exposition: &Exposition) -> bool {
    exposition.encode(Format::Prometheus).contains("ecr_broker_parent_pushes_total{outcome=\"confirmed\"} 1")
}

#[tokio::test]
async fn broker_with_a_parent_takes_its_pushes_into_its_cache() {
    let (parent, directory) = (parent(), tempfile::tempdir().unwrap());
    let mut setup = Setup::new(&cache_settings(), directory.path());
    setup.config.parents = vec![settings(&[parent.tcp])];
    let app = Box::pin(App::build(setup.config, Parts::new(parent.clock.clone()))).await.unwrap();
    let (cache, exposition, (stop, stopped)) = (app.cache(), app.exposition(), oneshot::channel::<()>());
    let running = tokio::spawn(app.run(async { _ = stopped.await }));
    let first = cache.get(lookup(HOST)).await.unwrap().credential.id();
    while !confirmed(&exposition) {
        tokio::task::yield_now().await;
    }
    let mut changes = cache.subscribe(&key(HOST)).unwrap();
    parent.clock.advance(HOUR + 10 * MINUTE);
    parent.cache.get(lookup(HOST)).await.unwrap();
    changes.next().await;
    assert_ne!(cache.get(lookup(HOST)).await.unwrap().credential.id(), first);
    assert_eq!(parent.source.calls(), 2);
    stop.send(()).unwrap();
    running.await.unwrap();
}
