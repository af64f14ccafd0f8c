//! Keeps the sockets served while a write of a task hangs.
//!
//! Of tokio's workers one waits for sockets and timers, and the others sleep. When it finds a single task, it runs that task and
//! wakes no other worker. If the task then hangs in a write, all others sleep on, and nothing is served. So a thread looks at the
//! writes every [`TICK`], and wakes a worker when one takes longer.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::sync::lock;

/// Interval of the looks while tasks write. A write that hangs delays the others by the double at most.
const TICK: Duration = Duration::from_millis(20);
/// Looks without a new write after which the thread sleeps until the next one.
const IDLE_TICKS: u32 = 50;

/// Watches the writes of tasks. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Guard(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How often a write began or ended: odd while one is made. There is one at a time.
    changes: AtomicU64,
    /// Whether the thread looks at the writes.
    is_awake: AtomicBool,
    is_closed: Mutex<bool>,
    called: Condvar,
}

/// A write of a task, until it is dropped.
#[derive(Debug)]
pub(super) struct Writing<'a>(&'a Shared);

impl Guard {
    /// Starts the thread, which wakes workers of `runtime`.
    pub(super) fn start(runtime: Handle) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("audit-guard".to_owned()).spawn(move || of_thread.run(&runtime))?;
        Ok(Self(shared))
    }

    /// Notes that a write of a task begins.
    pub(super) fn begin(&self) -> Writing<'_> {
        self.0.change();
        if !self.0.is_awake.load(Ordering::SeqCst) && !self.0.is_awake.swap(true, Ordering::SeqCst) {
            // The thread must not miss it between its look and its sleep.
            drop(lock(&self.0.is_closed));
            self.0.called.notify_one();
        }
        Writing(&self.0)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        *lock(&self.0.is_closed) = true;
        self.0.called.notify_one();
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.change();
    }
}

impl Shared {
    fn change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn run(&self, runtime: &Handle) {
        while self.wait_for_write() {
            self.watch(runtime);
        }
    }

    /// Sleeps until a write begins. Returns false when the guard is dropped.
    fn wait_for_write(&self) -> bool {
        let mut is_closed = lock(&self.is_closed);
        while !*is_closed && !self.is_awake.load(Ordering::SeqCst) {
            is_closed = self.called.wait(is_closed).unwrap_or_else(PoisonError::into_inner);
        }
        !*is_closed
    }

    /// Looks at the writes until there is none for a while.
    fn watch(&self, runtime: &Handle) {
        let (mut seen, mut idle) = (self.changes.load(Ordering::SeqCst), 0);
        while idle < IDLE_TICKS && self.tick() {
            let now = self.changes.load(Ordering::SeqCst);
            let (is_same, is_writing) = (now == seen, now % 2 == 1);
            if is_same && is_writing {
                // Any task wakes a worker, which then waits for sockets and timers.
                drop(runtime.spawn(std::future::ready(())));
            }
            idle = if is_same && !is_writing { idle + 1 } else { 0 };
            seen = now;
        }
        self.is_awake.store(false, Ordering::SeqCst);
        // A write that began before this saw the thread awake.
        if self.changes.load(Ordering::SeqCst) != seen {
            self.is_awake.store(true, Ordering::SeqCst);
        }
    }

    /// Waits for the next look. Returns false when the guard is dropped.
    fn tick(&self) -> bool {
        let is_closed = lock(&self.is_closed);
        let waited = self.called.wait_timeout_while(is_closed, TICK, |is_closed| !*is_closed);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;

    /// The longest that a test waits for what must happen.
    const LIMIT: Duration = Duration::from_secs(20);

    /// Reads a byte of the peer's, and runs `then` with the worker that found it.
    fn when_read(runtime: &Handle, then: impl FnOnce() + Send + 'static) -> UnixStream {
        let _entered = runtime.enter();
        let (peer, mut stream) = UnixStream::pair().unwrap();
        runtime.spawn(async move {
            stream.read_u8().await.unwrap();
            then();
        });
        peer
    }

    #[test]
    fn sockets_are_served_while_a_write_hangs() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let guard = Arc::new(Guard::start(runtime.handle().clone()).unwrap());
        // The thread sleeps in the first round, and is awake in the others.
        for _ in 0..20 {
            let (hangs, is_hung) = mpsc::channel();
            let (end, ended) = mpsc::channel::<()>();
            let (serve, served) = mpsc::channel();
            let of_task = Arc::clone(&guard);
            let mut hanging = when_read(runtime.handle(), move || {
                let _writing = of_task.begin();
                hangs.send(()).unwrap();
                _ = ended.recv();
            });
            let mut other = when_read(runtime.handle(), move || serve.send(()).unwrap());
            runtime.block_on(hanging.write_u8(1)).unwrap();
            is_hung.recv_timeout(LIMIT).unwrap();
            runtime.block_on(other.write_u8(1)).unwrap();
            served.recv_timeout(LIMIT).expect("no worker waits for sockets");
            drop(end);
        }
    }

    #[test]
    fn thread_sleeps_without_writes_and_ends_with_the_guard() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let guard = Guard::start(runtime.handle().clone()).unwrap();
        let shared = Arc::downgrade(&guard.0);
        drop(guard.begin());
        assert!(guard.0.is_awake.load(Ordering::SeqCst));
        while guard.0.is_awake.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        drop(guard);
        while shared.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
