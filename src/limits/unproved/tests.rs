use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, advance};

use super::super::hits::LimitHits;
use super::super::origin::Origin;
use super::super::test_clock::Still;
use super::*;
use crate::metrics;

fn connections(limit: usize) -> UnprovedConnections {
    UnprovedConnections::new(limit, Arc::new(Still::default()), LimitHits::new(&mut metrics::Registry::default()))
}

fn origin(number: u8) -> Origin {
    Origin::of([192, 0, 2, number].into())
}

fn is_retired(connection: &Unproved) -> bool {
    connection.retired().now_or_never().is_some()
}

/// Returns the time until the connection is closed.
async fn closed_after(connection: &Unproved) -> Duration {
    let began = Instant::now();
    connection.expired().await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn oldest_of_the_origin_with_most_connections_makes_room() {
    let all = connections(8);
    let honest = all.enter(origin(1));
    let flood: Vec<_> = (0..5).map(|_| all.enter(origin(2))).collect();
    assert!(!flood.iter().chain([&honest]).any(is_retired));
    let more: Vec<_> = (0..3).map(|_| all.enter(origin(2))).collect();
    let retired: Vec<_> = flood.iter().map(is_retired).collect();
    assert_eq!(retired, [true, true, true, false, false]);
    assert!(!is_retired(&honest) && !more.iter().any(is_retired));
    // Nine places: the first of those that were asked to end is closed at once.
    assert!(flood[0].expired().now_or_never().is_some());
    assert_eq!(closed_after(&flood[1]).await, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn proved_or_dropped_connection_makes_room_for_another() {
    let all = connections(4);
    let proved = all.enter(origin(1));
    proved.note_proved();
    drop(all.enter(origin(1)));
    let open: Vec<_> = (0..3).map(|_| all.enter(origin(1))).collect();
    assert!(!open.iter().chain([&proved]).any(is_retired));
    let _one_more = all.enter(origin(1));
    assert!(is_retired(&open[0]) && !is_retired(&proved));
}

#[tokio::test(start_paused = true)]
async fn connection_without_a_served_call_ends_after_ten_seconds() {
    let all = connections(100);
    let silent = all.enter(origin(1));
    let refused = all.enter(origin(1));
    drop(UnprovedCall::begin(&refused, 100));
    for connection in [silent, refused] {
        let began = Instant::now();
        tokio::select! {
            () = connection.expired() => panic!("closed before it was asked to end"),
            () = connection.retired() => {}
        }
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        assert_eq!(closed_after(&connection).await, Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn connection_of_a_health_watch_stays_and_an_idle_one_ends() {
    let all = connections(100);
    let connection = all.enter(origin(1));
    let watch = UnprovedCall::begin(&connection, 100);
    connection.note_served();
    let mut expired = Box::pin(connection.expired());
    assert!(tokio::time::timeout(Duration::from_hours(1), &mut expired).await.is_err());
    drop(watch);
    for _ in 0..10 {
        assert!(tokio::time::timeout(Duration::from_secs(100), &mut expired).await.is_err(), "a probe comes in time");
        drop(UnprovedCall::begin(&connection, 100));
    }
    let began = Instant::now();
    expired.await;
    assert_eq!(began.elapsed(), Duration::from_secs(121));
}

#[tokio::test(start_paused = true)]
async fn proved_connection_has_no_limits() {
    let connection = connections(100).enter(origin(1));
    let slots: Vec<_> = futures_util::future::join_all((0..8).map(|_| connection.slot())).await;
    assert!(slots.iter().all(Option::is_some));
    let mut ninth = Box::pin(connection.slot());
    assert!((&mut ninth).now_or_never().is_none(), "it waits");
    let watches: Vec<_> = (0..3).map(|_| HealthWatch::begin(&connection).is_some()).collect();
    assert_eq!(watches, [true; 3], "each has ended before the next");
    let held: Vec<_> = (0..3).map(|_| HealthWatch::begin(&connection)).collect();
    assert_eq!(held.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
    connection.note_proved();
    assert!(ninth.await.is_none());
    let mut expired = Box::pin(connection.expired());
    advance(Duration::from_hours(1)).await;
    assert!((&mut expired).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn memory_of_all_together_is_bounded_at_the_cost_of_the_largest() {
    const CALLS: usize = 16 * 1024 * 1024 / (16 * 1024);
    let all = connections(1_000);
    let (honest, greedy) = (all.enter(origin(1)), [all.enter(origin(2)), all.enter(origin(2))]);
    let mut own = UnprovedCall::begin(&honest, 0);
    own.note_serving();
    let calls: Vec<_> =
        (0..CALLS).map(|number| UnprovedCall::begin(&greedy[usize::from(number % 4 == 0)], 0)).collect();
    let is_closed = |connection: &Unproved| connection.expired().now_or_never().is_some();
    assert!(is_closed(&greedy[0]) && !is_closed(&greedy[1]) && !is_closed(&honest));
    drop(calls);
    // Bodies that nothing reads count up to the connection's window, until the last call ends.
    let calls: Vec<_> = (0..230).map(|_| all.enter(origin(3))).map(|it| (UnprovedCall::begin(&it, 0), it)).collect();
    for (_, connection) in &calls[..190] {
        connection.note_received(1_000_000);
    }
    assert!(!is_closed(&honest) && !calls.iter().any(|(_, connection)| is_closed(connection)));
    for (_, connection) in &calls[190..] {
        connection.note_received(1_000_000);
    }
    assert!(!is_closed(&honest) && calls.iter().any(|(_, connection)| is_closed(connection)));
}
