//! A waker between a task and a future in it: wakes during a poll are only noted.
//!
//! A future that is woken while it is polled would have its task scheduled again, often by another thread. Its driver can poll it
//! again at once instead.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use crate::sync::lock;

/// The future is being polled.
const POLLED: u8 = 1;
/// The future was woken since its last poll began.
const WOKEN: u8 = 2;

/// Wakes a task, unless its future is being polled. Each future needs its own.
#[derive(Debug)]
pub(super) struct Gate {
    /// [`POLLED`] and [`WOKEN`]. Each wake changes it by one atomic operation, even if it is woken already: so the next poll sees
    /// what happened before the wake.
    state: AtomicU8,
    task: Mutex<Waker>,
}

impl Gate {
    /// Returns a gate whose future was never polled: it counts as woken.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(WOKEN), task: Mutex::new(Waker::noop().clone()) })
    }

    /// Sets the waker of the task, as each poll of the task must.
    pub(super) fn set_task(&self, task: &Waker) {
        lock(&self.task).clone_from(task);
    }

    /// Notes that a poll of the future begins, and forgets earlier wakes.
    pub(super) fn begin_poll(&self) {
        self.state.swap(POLLED, Ordering::AcqRel);
    }

    /// Returns whether the future was woken since its last poll began.
    pub(super) fn is_woken(&self) -> bool {
        self.state.load(Ordering::Acquire) & WOKEN != 0
    }

    /// Notes that the polls have ended: further wakes reach the task. Wakes it if there was one meanwhile.
    pub(super) fn end_poll(&self) {
        if self.state.fetch_and(!POLLED, Ordering::AcqRel) & WOKEN != 0 {
            self.wake_task();
        }
    }

    fn wake_task(&self) {
        // Not under the lock: what a waker does is not known here.
        let task = lock(&self.task).clone();
        task.wake();
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) == 0 {
            self.wake_task();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::sync::counting_waker::{Wakes, counting};

    fn gate() -> (Arc<Gate>, Arc<Wakes>) {
        let (gate, (wakes, task)) = (Gate::new(), counting());
        gate.set_task(&task);
        (gate, wakes)
    }

    #[test]
    fn wake_during_a_poll_reaches_the_task_only_after_it() {
        let (gate, count) = gate();
        let waker = Waker::from(Arc::clone(&gate));
        assert!(gate.is_woken(), "the first poll");
        gate.begin_poll();
        assert!(!gate.is_woken());
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert!(gate.is_woken());
        assert_eq!(count.take(), 0);
        gate.begin_poll();
        gate.end_poll();
        assert_eq!(count.take(), 0, "the second poll saw them");
        gate.begin_poll();
        waker.wake_by_ref();
        gate.end_poll();
        assert_eq!(count.take(), 1);
    }

    #[test]
    fn wakes_between_polls_reach_the_task_once() {
        let (gate, count) = gate();
        gate.begin_poll();
        gate.end_poll();
        let waker = Waker::from(Arc::clone(&gate));
        waker.wake_by_ref();
        waker.wake();
        assert_eq!(count.take(), 1);
        assert!(gate.is_woken());
    }

    /// Other threads announce values and wake; the task polls until it has seen them all, and sleeps only between wakes.
    #[test]
    fn no_wake_of_other_threads_is_lost() {
        const VALUES: usize = 20_000;
        const THREADS: usize = 3;
        /// Unparks the thread that polls.
        struct Unpark(std::thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let (gate, announced) = (Gate::new(), [const { AtomicUsize::new(0) }; THREADS]);
        let seen = std::thread::scope(|scope| {
            for number in &announced {
                let waker = Waker::from(Arc::clone(&gate));
                scope.spawn(move || {
                    for _ in 0..VALUES {
                        number.fetch_add(1, Ordering::Relaxed);
                        waker.wake_by_ref();
                    }
                });
            }
            gate.set_task(&Waker::from(Arc::new(Unpark(std::thread::current()))));
            let mut seen = 0;
            while seen < THREADS * VALUES {
                for _ in 0..2 {
                    gate.begin_poll();
                    seen = announced.iter().map(|number| number.load(Ordering::Relaxed)).sum();
                }
                gate.end_poll();
                if seen < THREADS * VALUES {
                    // A lost wake lets the test hang.
                    std::thread::park();
                }
            }
            seen
        });
        assert_eq!(seen, THREADS * VALUES);
    }
}
