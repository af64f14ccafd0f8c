//! Writes by the tasks that have records, and by the thread.

#![expect(clippy::await_holding_lock, reason = "other threads wait for it, not this task")]

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::*;
use crate::audit::target::{Target, Write};
use crate::caller::Caller;
use crate::moment::Moment;
use crate::sync::lock;

const MS: Duration = Duration::from_millis(1);
/// How long a test waits for what must happen at once.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A clock that stands still until it is advanced.
#[derive(Debug, Default)]
struct Still(Mutex<Duration>);

impl Still {
    fn advance(&self, time: Duration) {
        *lock(&self.0) += time;
    }
}

impl Clock for Still {
    fn now(&self) -> Moment {
        Moment { wall: SystemTime::UNIX_EPOCH, steady: *lock(&self.0) }
    }
}

/// A runtime with workers that may hang at the end of a test.
struct Pool(Option<Runtime>, OnFailure);

impl Pool {
    fn new(workers: usize) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
        Self(Some(runtime), OnFailure::Refuse)
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().unwrap()
    }

    /// Returns an audit log to which the tasks of the runtime write.
    fn audit_log(&self, target: impl Target + 'static, clock: Arc<dyn Clock>) -> AuditLog {
        let _entered = self.runtime().enter();
        AuditLog::start(Sink::on(Box::new(target)), (0, self.1), clock).unwrap()
    }

    /// Returns a log on a disk.
    fn on(&self, disk: &Disk) -> AuditLog {
        self.audit_log(disk.clone(), Arc::<Still>::default())
    }

    /// Releases on a worker.
    fn release(&self, audit: &AuditLog) -> JoinHandle<bool> {
        let audit = audit.clone();
        self.runtime().spawn(async move { release(&audit).await })
    }

    /// Returns a log on a disk that is held, and a release whose write hangs there.
    async fn hung<'a>(&self, disk: &'a Disk) -> (AuditLog, JoinHandle<bool>, MutexGuard<'a, impl Sized>) {
        let audit = self.on(disk);
        assert!(audit.writes_at_once() && release(&audit).await);
        let held = disk.hold();
        let hung = self.release(&audit);
        while disk.writes() < 2 {
            tokio::task::yield_now().await;
        }
        (audit, hung, held)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

/// A disk whose writes take a scripted time, and which counts what is done to it.
#[derive(Debug, Clone, Default)]
struct Scripted {
    clock: Arc<Still>,
    takes: Arc<Mutex<Duration>>,
    text: Arc<Mutex<Vec<u8>>>,
    is_pipe: bool,
    fails: Arc<AtomicBool>,
    checks: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    writes_of_thread: Arc<AtomicU64>,
}

impl Scripted {
    fn take(&self, time: Duration) {
        *lock(&self.takes) = time;
    }

    /// Returns the numbers of writes by tasks and by the thread.
    fn writes(&self) -> (u64, u64) {
        let [all, of_thread] = [&self.writes, &self.writes_of_thread].map(|count| count.load(Ordering::SeqCst));
        (all - of_thread, of_thread)
    }

    fn checks(&self) -> u64 {
        self.checks.load(Ordering::SeqCst)
    }

    fn text(&self) -> String {
        String::from_utf8(lock(&self.text).clone()).unwrap()
    }
}

impl Target for Scripted {
    fn follow(&mut self) -> io::Result<Option<bool>> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        Ok(None)
    }

    fn with_writer(&mut self, write: Write<'_>) -> io::Result<()> {
        write(self)
    }

    fn is_regular_file(&self) -> bool {
        !self.is_pipe
    }
}

impl io::Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let is_thread = std::thread::current().name() == Some("audit");
        self.writes_of_thread.fetch_add(u64::from(is_thread), Ordering::SeqCst);
        self.clock.advance(*lock(&self.takes));
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        lock(&self.text).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn numbered(number: usize) -> Vec<u8> {
    format!("{number}\n").into_bytes()
}

fn add(batch: &AuditBatch, numbers: std::ops::Range<usize>) -> Vec<Queued> {
    numbers.map(|number| batch.add(numbered(number), Caller::Loopback)).collect()
}

/// Numbers of the lines that have one, in their order.
fn numbers(text: &str) -> Vec<usize> {
    text.lines().filter(|line| !line.starts_with('{')).map(|line| line.parse().unwrap()).collect()
}

/// A task that hangs in a write holds one worker. Others are refused after two seconds, which the test does not wait for.
#[tokio::test(start_paused = true)]
async fn p11_hung_write_blocks_one_worker_and_others_are_refused() {
    let (pool, disk) = (Pool::new(2), Disk::with_room(u64::MAX));
    let (audit, hung, held) = pool.hung(&disk).await;

    let (began, batch) = (tokio::time::Instant::now(), audit.batch());
    let mut of_batch = add(&batch, 0..3);
    batch.commit();
    assert!(of_batch.iter_mut().all(|queued| queued.try_written().is_none()));
    let of_others = (0..50).map(|_| release(&audit));
    let (others, of_batch) = tokio::join!(
        futures_util::future::join_all(of_others),
        futures_util::future::join_all(of_batch.into_iter().map(Queued::written))
    );
    assert!(others.into_iter().chain(of_batch).all(|is_released| !is_released));
    assert_eq!(began.elapsed().as_secs(), 2);
    // Fifty workers' worth of work, which needs the other worker only.
    for number in 0..50 {
        assert_eq!(pool.runtime().spawn(async move { number }).await.unwrap(), number);
    }
    audit.settle().await;
    assert!(!hung.is_finished());

    drop(held);
    assert!(hung.await.unwrap(), "its record was written in the end");
    // Its own, that of the start, and those of refused callers.
    assert_eq!(disk.text().lines().count(), 2 + 3 + 50);
    assert!(pool.release(&audit).await.unwrap());
}

/// The fetch of a key for many callers, for instance.
#[tokio::test]
async fn task_in_the_lifo_slot_of_a_hung_worker_runs() {
    let (pool, disk) = (Pool::new(2), Disk::with_room(u64::MAX));
    let audit = pool.on(&disk);
    for round in 0..20 {
        let held = disk.hold();
        let (has_run, runs) = oneshot::channel();
        let of_task = audit.clone();
        let hung = pool.runtime().spawn(async move {
            drop(tokio::spawn(async move { has_run.send(()).unwrap() }));
            release(&of_task).await
        });
        tokio::time::timeout(AT_ONCE, runs).await.unwrap_or_else(|_| panic!("stranded in round {round}")).unwrap();
        drop(held);
        assert!(hung.await.unwrap());
    }
}

#[tokio::test]
async fn slow_write_moves_writes_to_the_thread_until_they_are_quick() {
    let (pool, disk) = (Pool::new(2), Scripted::default());
    let audit = pool.audit_log(disk.clone(), disk.clock.clone());
    let batch = audit.batch();
    for (takes, pause, writes, is_at_once) in [
        (20 * MS, Duration::ZERO, (1, 0), true),
        (21 * MS, Duration::ZERO, (2, 0), false),
        (20 * MS, 9_000 * MS, (2, 1), false),
        (21 * MS, 9_000 * MS, (2, 2), false),
        (MS, 9_998 * MS, (2, 3), false),
        (MS, Duration::ZERO, (2, 4), true),
        (MS, Duration::ZERO, (3, 4), true),
    ] {
        disk.take(takes);
        disk.clock.advance(pause);
        let (before, mut queued) = (disk.writes(), add(&batch, 0..2));
        batch.commit();
        let is_known = queued.iter_mut().all(|queued| queued.try_written() == Some(true));
        assert!(is_known || writes.1 > before.1, "a task has written before commit returned");
        for queued in queued {
            assert!(queued.written().await);
        }
        assert_eq!((disk.writes(), audit.writes_at_once()), (writes, is_at_once));
    }
    assert_eq!(numbers(&disk.text()), [0, 1].repeat(7));
}

#[tokio::test]
async fn p11_pipe_without_a_reader_blocks_no_worker() {
    let pool = Pool::new(2);
    let (reader, pipe) = io::pipe().unwrap();
    let audit = pool.audit_log(Pipe(pipe), Arc::new(SystemClock::new()));
    assert!(!audit.writes_at_once());
    let batch = audit.batch();
    let blocked = vec![b'\n'; 1024 * 1024];
    let mut queued = batch.add(blocked, Caller::Loopback);
    batch.commit();
    assert_eq!(queued.try_written(), None, "this thread went on");
    drop(reader);
    assert!(!queued.written().await, "the write failed");
}

#[derive(Debug)]
struct Pipe(io::PipeWriter);

impl Target for Pipe {
    fn with_writer(&mut self, write: Write<'_>) -> io::Result<()> {
        write(&mut self.0)
    }
}

#[tokio::test]
async fn rotation_and_space_are_checked_ten_times_a_second_and_after_a_failure() {
    let (pool, disk) = (Pool::new(2), Scripted::default());
    let audit = pool.audit_log(disk.clone(), disk.clock.clone());
    for (pause, fails, checks) in [
        (0, false, 1),
        (50, false, 1),
        (49, false, 1),
        (1, false, 2),
        (99, true, 2),
        (0, true, 3),
        (0, false, 4),
        (0, false, 4),
        (100, false, 5),
    ] {
        disk.clock.advance(pause * MS);
        disk.fails.store(fails, Ordering::SeqCst);
        assert_eq!(release(&audit).await, !fails);
        assert_eq!((disk.checks(), audit.writes_at_once()), (checks, !fails), "{pause}");
    }
}

/// Batches of many connections at once, while the mode changes.
#[tokio::test]
async fn batches_at_once_lose_and_mix_no_line() {
    const CONNECTIONS: usize = 8;
    const POLLS: usize = 400;
    let (pool, disk) = (Pool::new(4), Scripted::default());
    let audit = pool.audit_log(disk.clone(), disk.clock.clone());
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let (batch, audit, disk) = (audit.batch(), audit.clone(), disk.clone());
            pool.runtime().spawn(async move {
                let mut random = fastrand::Rng::with_seed(connection as u64);
                let mut next = connection * 1_000_000;
                for _ in 0..POLLS {
                    disk.take(if random.u8(..) < 3 { 21 * MS } else { MS });
                    disk.clock.advance(random.u32(0..400) * MS);
                    let count = random.usize(1..12);
                    let queued = add(&batch, next..next + count);
                    next += count;
                    batch.commit();
                    for queued in queued {
                        assert!(queued.written().await);
                    }
                    if random.u8(..) < 20 {
                        assert!(release(&audit).await);
                    }
                }
                next
            })
        })
        .collect();
    let mut lines = HashMap::<usize, Vec<usize>>::new();
    let ends: Vec<_> = futures_util::future::join_all(connections).await.into_iter().map(Result::unwrap).collect();
    let text = disk.text();
    for number in numbers(&text) {
        lines.entry(number / 1_000_000).or_default().push(number);
    }
    for (connection, end) in ends.into_iter().enumerate() {
        assert_eq!(lines[&connection], (connection * 1_000_000..end).collect::<Vec<_>>());
    }
    assert_eq!(
        text.lines().filter(|line| line.starts_with('{')).count() as u64,
        audit.status().written - numbers(&text).len() as u64
    );
    let (by_tasks, by_thread) = disk.writes();
    assert!(by_tasks > 0 && by_thread > 0, "{by_tasks} {by_thread}");
}

/// The log may show a release that was not made, but never lacks one.
#[tokio::test]
async fn record_of_a_cancelled_caller_is_written_and_delays_none() {
    let (pool, disk) = (Pool::new(2), Disk::with_room(u64::MAX));
    let (audit, hung, held) = pool.hung(&disk).await;
    let batch = audit.batch();
    drop(add(&batch, 0..3));
    batch.commit();
    tokio::select! {
        biased;
        _ = release(&audit) => panic!("not written"),
        () = std::future::ready(()) => {}
    }
    // Records that were never committed are not written.
    drop(add(&audit.batch(), 7..9));
    drop(held);
    assert!(hung.await.unwrap() && release(&audit).await);
    assert_eq!(disk.text().lines().filter(|line| line.starts_with('{')).count(), 4);
    assert_eq!(numbers(&disk.text()), [0, 1, 2]);
}

#[tokio::test]
async fn p11_batches_wait_for_a_full_queue_in_their_order() {
    const MANY: usize = queue::MAX_QUEUED + 1_000;
    let (pool, disk) = (Pool::new(2), Disk::with_room(u64::MAX));
    let (audit, hung, held) = pool.hung(&disk).await;
    let batch = audit.batch();
    let mut queued = add(&batch, 0..MANY);
    batch.commit();
    assert!(audit.turns().queue.is_full());
    queued.extend(add(&batch, MANY..MANY + 5));
    batch.commit();
    drop(held);
    assert!(hung.await.unwrap());
    // Tasks may write again, and the first ones still wait.
    queued.extend(add(&batch, MANY + 5..MANY + 10));
    batch.commit();
    for queued in queued {
        assert!(queued.written().await);
    }
    assert_eq!(numbers(&disk.text()), (0..MANY + 10).collect::<Vec<_>>());
}

#[test]
fn queued_records_are_taken_before_others_in_their_order() {
    let entries = |numbers: std::ops::Range<usize>| -> Vec<Entry> {
        numbers.map(|number| Entry::new(numbered(number), About::Release(Caller::Loopback), None).0).collect()
    };
    let (queue, mut own) = (queue::Queue::new(), entries(4..6));
    queue.push(&mut entries(0..5));
    queue.take_before(&mut own, 4);
    let lines: Vec<_> = own.into_iter().map(|entry| entry.line).collect();
    assert_eq!(numbers(&String::from_utf8(lines.concat()).unwrap()), [0, 1, 2, 3, 4, 5]);
    assert_eq!(queue.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p11_batch_that_finds_no_room_is_refused_after_two_seconds() {
    let (pool, disk) = (Pool::new(2), Disk::with_room(u64::MAX));
    let (audit, hung, held) = pool.hung(&disk).await;
    let batch = audit.batch();
    drop(add(&batch, 0..queue::MAX_QUEUED));
    batch.commit();
    let queued = add(&batch, 900_000..900_100);
    batch.commit();
    let began = tokio::time::Instant::now();
    let results = futures_util::future::join_all(queued.into_iter().map(Queued::written)).await;
    assert!(results.into_iter().all(|is_written| !is_written) && began.elapsed().as_secs() == 2);
    // Until every task is idle.
    tokio::time::sleep(AT_ONCE).await;
    drop(held);
    assert!(hung.await.unwrap() && pool.release(&audit).await.unwrap());
    assert!(!disk.text().contains("9000"), "a refused release that never was in the queue has no record");
}

#[tokio::test]
async fn task_keeps_records_that_it_cannot_write_and_writes_them_first() {
    let (mut pool, disk) = (Pool::new(2), Scripted::default());
    pool.1 = OnFailure::Release { buffer: 1 << 20 };
    let audit = pool.audit_log(disk.clone(), disk.clock.clone());
    let batch = audit.batch();
    disk.fails.store(true, Ordering::SeqCst);
    for first in [0, 3] {
        let mut queued = add(&batch, first..first + 3);
        batch.commit();
        assert!(queued.iter_mut().all(|queued| queued.try_written() == Some(true)), "released at once");
    }
    assert_eq!((audit.status().buffered, audit.status().lost, audit.is_well()), (6, 0, false));
    disk.fails.store(false, Ordering::SeqCst);
    let queued = add(&batch, 6..9);
    batch.commit();
    for queued in queued {
        assert!(queued.written().await);
    }
    assert_eq!(numbers(&disk.text()), (0..9).collect::<Vec<_>>());
    assert_eq!((audit.status().buffered, audit.status().written, audit.is_well()), (0, 9, true));
}

/// Room that comes late does not prolong the wait: a release through the ordinary path and one of a batch are refused alike.
#[tokio::test(start_paused = true)]
async fn p11_releases_that_find_late_room_are_refused_after_two_seconds() {
    let (pool, disk) = (Pool::new(2), Disk::with_room(u64::MAX));
    let (audit, _hung, _held) = pool.hung(&disk).await;
    let batch = audit.batch();
    let mut queued = add(&batch, 0..queue::MAX_QUEUED + 1);
    batch.commit();
    assert!(audit.turns().queue.is_full());
    let (began, of_batch) = (tokio::time::Instant::now(), queued.pop().unwrap());
    let after = |is_written: bool| (is_written, began.elapsed().as_millis());
    let make_room = async {
        tokio::time::sleep(1_500 * MS).await;
        let mut taken = Vec::new();
        audit.turns().queue.take_before(&mut taken, 100);
        taken
    };
    let release = async { after(release(&audit).await) };
    let of_batch = async { after(of_batch.written().await) };
    let (released, of_batch, taken) = tokio::join!(release, of_batch, make_room);
    assert_eq!((released, of_batch, taken.len()), ((false, 2_000), (false, 2_000), 100));
    assert_eq!(audit.turns().queue.len(), queue::MAX_QUEUED - 100 + 2, "both found room");
}
