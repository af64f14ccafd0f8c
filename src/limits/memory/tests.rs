use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::super::hits::{LimitHits, LimitName};
use super::super::origin::Origin;
use super::super::test_clock::Still;
use super::*;
use crate::metrics::Registry;
use crate::sync::counting_waker::{Wakes, counting};

const LIMIT: Limit = Limit {
    all: 1_000,
    of_origin: 400,
    of_holders: 1,
    few: 0,
    all_for_few: 1_000,
    name: LimitName::RequestMemory,
    event: Some("connection closed"),
};

fn budget() -> Budget {
    budget_of(LIMIT)
}

fn budget_of(limit: Limit) -> Budget {
    Budget::new(limit, Arc::new(Still::default()), LimitHits::new(&mut Registry::default()))
}

fn account(budget: &Budget, uid: u32) -> Account {
    Account::open(budget, Origin::Uid(uid), 64)
}

/// The task of a connection: reads, and then checks whether the connection must be closed.
struct Task<'a> {
    account: &'a Account,
    closing: Pin<Box<dyn Future<Output = ()> + 'a>>,
    wakes: Arc<Wakes>,
    waker: Waker,
}

impl<'a> Task<'a> {
    fn of(account: &'a Account) -> Self {
        let (wakes, task) = counting();
        Self { account, closing: Box::pin(account.closing()), wakes, waker: task }
    }

    /// Reads `bytes` if there is room. Returns whether there was.
    fn poll(&mut self, bytes: usize) -> bool {
        let mut context = Context::from_waker(&self.waker);
        let may_read = self.account.poll_room(&context).is_ready();
        if may_read {
            self.account.charge(bytes);
        }
        assert!(self.closing.as_mut().poll(&mut context).is_pending());
        may_read
    }

    /// Returns how often it was woken since the last time.
    fn woken(&self) -> usize {
        self.wakes.take()
    }
}

fn closes(accounts: &[Account]) -> Vec<bool> {
    accounts.iter().map(Account::is_closing).collect()
}

#[test]
fn each_charge_closes_no_more_than_it_must() {
    let budget = budget();
    let accounts: Vec<_> = [1, 1, 1, 2, 3, 4].map(|uid| account(&budget, uid)).into();
    for (account, bytes) in accounts.iter().zip([100, 200, 100, 300, 300, 0]) {
        account.charge(bytes);
    }
    assert_eq!(closes(&accounts), [false; 6]);
    accounts[0].charge(1);
    assert_eq!(closes(&accounts), [false, true, false, false, false, false], "the largest of the origin");
    accounts[5].charge(199);
    assert_eq!(
        closes(&accounts),
        [false, true, false, false, false, false],
        "the others have 1,000, and 1,200 with it"
    );
}

#[test]
fn bytes_of_a_closed_or_absent_connection_count_exactly() {
    let budget = budget();
    let (first, second) = (account(&budget, 1), account(&budget, 1));
    first.charge(300);
    second.charge(101);
    assert!(first.is_closing() && !second.is_closing());
    first.charge(50);
    first.release(200);
    second.charge(299);
    assert!(!second.is_closing(), "what the closed one holds does not count against the others");
    first.leave();
    first.charge(1_000);
    first.release(1_150);
    assert_eq!((first.bytes(), second.bytes(), second.is_closing()), (0, 400, false));
    second.charge(1);
    assert!(second.is_closing());
}

#[test]
fn released_memory_wakes_one_paused_connection_at_a_time() {
    let budget = budget();
    let (full, accounts) = (account(&budget, 1), [account(&budget, 1), account(&budget, 1), account(&budget, 1)]);
    let mut tasks: Vec<_> = accounts.iter().map(Task::of).collect();
    full.charge(401);
    assert!(tasks.iter_mut().all(|task| !task.poll(1)), "they are paused");
    let woken = |tasks: &[Task<'_>]| tasks.iter().map(Task::woken).collect::<Vec<_>>();
    assert_eq!(woken(&tasks), [0, 0, 0]);
    full.release(100);
    assert_eq!(woken(&tasks), [1, 0, 0]);
    assert!(tasks[0].poll(50));
    assert_eq!(woken(&tasks), [0, 1, 0], "the first has read, and there is room left");
    assert!(tasks[1].poll(0));
    assert_eq!(woken(&tasks), [0, 0, 1], "also if it had nothing to read");
}

#[test]
fn paused_connection_that_ends_passes_its_turn_on() {
    let budget = budget();
    let (full, gone, last) = (account(&budget, 1), account(&budget, 1), account(&budget, 1));
    full.charge(401);
    let mut waiting = Task::of(&last);
    assert!(!Task::of(&gone).poll(1) && !waiting.poll(1));
    full.release(100);
    assert_eq!(waiting.woken(), 0);
    drop(gone);
    assert_eq!(waiting.woken(), 1);
}

#[test]
fn origins_take_turns_and_one_above_its_share_waits() {
    let budget = budget();
    let (full, large) = (account(&budget, 1), account(&budget, 2));
    let accounts = [1, 3, 3, 4].map(|uid| account(&budget, uid));
    let mut tasks: Vec<_> = accounts.iter().map(Task::of).collect();
    let others = [5, 6].map(|uid| account(&budget, uid));
    full.charge(500);
    large.charge(400);
    for other in &others {
        other.charge(300);
    }
    assert!(tasks.iter_mut().all(|task| !task.poll(0)));
    large.release(400);
    others[0].release(300);
    // The first belongs to an origin that still holds too much.
    let mut order = Vec::new();
    while let Some(at) = tasks.iter().position(|task| task.woken() > 0) {
        order.push(at);
        tasks[at].poll(0);
    }
    assert_eq!(order, [1, 3, 2]);
}

#[test]
fn origin_with_few_bytes_reads_on_above_the_limit_of_all() {
    let budget = budget_of(Limit { event: None, few: 20, all_for_few: 1_500, ..LIMIT });
    let (greedy, honest, other) =
        ([1, 2, 3].map(|uid| account(&budget, uid)), account(&budget, 4), account(&budget, 5));
    let is_paused = |account: &Account| account.poll_room(&Context::from_waker(Waker::noop())).is_pending();
    greedy[0].charge(1_001);
    assert!(is_paused(&greedy[0]) && !is_paused(&greedy[1]) && !is_paused(&honest));
    greedy[1].charge(21);
    honest.charge(20);
    assert!(is_paused(&greedy[1]) && !is_paused(&honest) && !is_paused(&other));
    honest.charge(1);
    assert!(is_paused(&honest) && !is_paused(&other), "it has much now");
    greedy[2].charge(500);
    assert!(is_paused(&other), "the reserve is used up, too");
    greedy[0].release(100);
    assert!(!is_paused(&other));
}

#[test]
fn connection_that_leaves_is_paused_no_more() {
    let budget = budget();
    let (full, proved) = (account(&budget, 1), account(&budget, 1));
    full.charge(401);
    let mut task = Task::of(&proved);
    assert!(!task.poll(1));
    proved.leave();
    assert_eq!(task.woken(), 1);
    assert!(task.poll(1_000));
}

#[test]
fn unread_bytes_count_up_to_the_window() {
    let budget = budget();
    let account = account(&budget, 1);
    account.note_received(50);
    account.note_received(50);
    assert_eq!((account.bytes(), account.unread()), (64, 64));
    assert_eq!(account.take_unread(60), 60);
    assert_eq!(account.take_unread(60), 4);
    account.release(64);
    account.note_received(10);
    account.discard_unread();
    assert_eq!((account.bytes(), account.unread()), (0, 0));
}

/// Many threads charge, release and leave: in the end nothing is counted, and nothing is paused.
#[test]
fn concurrent_changes_leave_nothing_behind() {
    let budget = budget();
    std::thread::scope(|scope| {
        for uid in 0..4 {
            let budget = &budget;
            scope.spawn(move || {
                for round in 0..500 {
                    let account = account(budget, uid % 2);
                    std::thread::scope(|scope| {
                        scope.spawn(|| account.charge(150));
                        account.charge(100);
                        if round % 3 == 0 {
                            account.leave();
                        }
                        account.release(100);
                    });
                    account.release(150);
                }
            });
        }
    });
    let last = account(&budget, 0);
    last.charge(400);
    let mut closing = pin!(last.closing());
    let mut context = Context::from_waker(Waker::noop());
    assert!(last.poll_room(&context).is_ready() && closing.as_mut().poll(&mut context).is_pending());
    last.charge(1);
    assert_eq!(closing.as_mut().poll(&mut context), Poll::Ready(()));
}
