use std::sync::Arc;
use std::task::{Context, Waker};

use futures_util::FutureExt as _;

use super::super::hits::LimitHits;
use super::super::origin::Origin;
use super::super::test_clock::Still;
use super::connection::LIMIT;
use super::*;
use crate::metrics;

const UNARY: usize = usize::MAX;
const CALL: usize = 20 * 1024;
const MAX_BYTES: usize = LIMIT.all;
const MAX_ORIGIN_BYTES: usize = LIMIT.of_origin;

fn memory() -> RequestMemory {
    RequestMemory::new(Arc::new(Still::default()), LimitHits::new(&mut metrics::Registry::default()))
}

fn closed(connections: &[ConnectionMemory]) -> usize {
    let count = connections.iter().filter(|it| it.is_closing()).count();
    assert_eq!(count, connections.iter().filter(|it| it.closing().now_or_never().is_some()).count());
    count
}

fn bytes(connection: &ConnectionMemory) -> usize {
    connection.account().bytes()
}

fn is_paused(connection: &ConnectionMemory) -> bool {
    connection.poll_room(&Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn origin_above_its_share_loses_its_largest_connection() {
    let memory = memory();
    let [honest, small, large] = [1, 2, 2].map(|uid| memory.enter(Origin::Uid(uid)));
    let own = [honest.hold(MAX_ORIGIN_BYTES), small.hold(1000)];
    let most = large.hold(MAX_ORIGIN_BYTES - 1000);
    assert_eq!(closed(&[honest.clone(), small.clone(), large.clone()]), 0);
    assert!(!is_paused(&small));
    let one_more = small.hold(1);
    assert!(large.is_closing() && closed(&[honest.clone(), small.clone()]) == 0);
    assert!(is_paused(&small) && !is_paused(&honest), "until the closed one gives its memory back");
    // Nothing else is closed meanwhile.
    drop((small.hold(2000), most));
    assert!(closed(&[honest.clone(), small.clone()]) == 0 && !is_paused(&small));
    drop((own, one_more));
    assert_eq!([&honest, &small, &large].map(bytes), [0; 3]);
}

#[test]
fn memory_of_all_origins_is_bounded_at_the_cost_of_the_one_with_most() {
    let memory = memory();
    let greedy: Vec<_> = (0..5).map(|uid| memory.enter(Origin::Uid(uid))).collect();
    let honest = memory.enter(Origin::Uid(9));
    let held: Vec<_> = greedy[..4].iter().map(|it| it.hold(MAX_BYTES / 4)).collect();
    assert_eq!(closed(&greedy), 0);
    let few = honest.hold(10_000);
    assert_eq!((closed(&greedy), honest.is_closing()), (1, false));
    let more = greedy[4].hold(MAX_BYTES / 5);
    assert_eq!((closed(&greedy), honest.is_closing()), (1, false), "the rest is within the limit");
    drop((held, few, more));
    assert!(!is_paused(&honest));
}

#[test]
fn call_and_message_count_from_their_arrival_until_it_is_decoded() {
    let memory = memory();
    let connection = memory.enter(Origin::Uid(1));
    connection.note_received(100);
    let mut body = BodyMemory::begin(&connection, UNARY);
    connection.note_turn();
    assert_eq!([bytes(&connection), connection.started().bytes()], [100, CALL]);
    for _ in 0..2 {
        body.note_unfinished();
        assert_eq!([bytes(&connection), connection.started().bytes()], [CALL + 100, 0]);
    }
    body.note_read(100);
    assert_eq!(bytes(&connection), CALL + 100, "the handler has not decoded it");
    drop(body);
    assert_eq!(bytes(&connection), 0);
    drop(BodyMemory::begin(&connection, UNARY));
    assert_eq!(connection.started().bytes(), 0);
}

#[test]
fn unread_message_counts_until_its_requests_have_ended() {
    let memory = memory();
    let connection = memory.enter(Origin::Uid(1));
    let mut body = BodyMemory::begin(&connection, UNARY);
    body.note_unfinished();
    connection.note_received(1_000_000);
    connection.note_received(1_000_000);
    connection.note_turn();
    assert_eq!(bytes(&connection), CALL + 256 * 1024);
    drop(body);
    connection.note_turn();
    assert_eq!(bytes(&connection), 0);
}

#[test]
fn stream_of_small_messages_does_not_add_up() {
    let memory = memory();
    let connection = memory.enter(Origin::Uid(1));
    let mut reflection = BodyMemory::begin(&connection, 16_000);
    for _ in 0..1_000 {
        connection.note_received(100);
        reflection.note_read(100);
    }
    assert_eq!(bytes(&connection), 16_000);
    drop(reflection);
    assert_eq!(bytes(&connection), 0);
}

/// A hundred calls of 4 KB each on one connection, as a batch of a build, all of them incomplete for a moment.
#[test]
fn hundred_calls_at_once_stay_below_the_share_of_their_origin() {
    let memory = memory();
    let connection = memory.enter(Origin::Uid(1));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let mut body = BodyMemory::begin(&connection, UNARY);
            body.note_unfinished();
            connection.note_received(4096);
            body.note_read(4096);
            body
        })
        .collect();
    assert!(!connection.is_closing() && bytes(&connection) < MAX_ORIGIN_BYTES / 2);
    drop(calls);
    assert_eq!(bytes(&connection), 0);
}

/// Thousands of builds at once, each with a whole message: none of their connections is closed.
#[test]
fn started_calls_pause_their_origin_and_close_nothing() {
    let memory = memory();
    let [many, other, stranger] = [1, 1, 2].map(|uid| memory.enter(Origin::Uid(uid)));
    let mut calls: Vec<_> = (0..10_000).map(|_| BodyMemory::begin(&many, UNARY)).collect();
    assert_eq!(closed(&[many.clone(), other.clone(), stranger.clone()]), 0);
    assert!(is_paused(&many) && is_paused(&other) && is_paused(&stranger), "too much in all");
    calls.truncate(300);
    assert!(is_paused(&other) && !is_paused(&stranger), "too much of one origin");
    assert!(!is_paused(&many), "it reads the messages of what has started");
    calls.truncate(200);
    assert!(!is_paused(&other) && !is_paused(&many));
}
