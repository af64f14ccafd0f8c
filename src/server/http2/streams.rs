//! The streams of a connection, polled by its own task.
//!
//! A task for each stream would be scheduled for each answer, and would wake the connection, which then sends this answer alone.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use hyper::rt::Executor;

use tokio::time::{Duration, Instant};

use crate::audit::AuditBatch;
use crate::sync::lock;

/// Places for new streams that an idle connection keeps.
const KEPT_PLACES: usize = 8;

/// Time after which new streams leave the worker to other tasks. A hundred cache hits take less, and one large batch takes more.
const TURN: Duration = Duration::from_millis(1);

/// A stream. Its panic ends only itself.
type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the streams that hyper starts. A clone is a handle of the same list.
#[derive(Clone, Default)]
pub(super) struct NewStreams(Arc<Mutex<VecDeque<Stream>>>);

/// The streams of one connection.
#[derive(Default)]
pub(super) struct Streams {
    new: NewStreams,
    /// New streams that were polled once in this round, and did not end.
    polled: Vec<Stream>,
    waiting: FuturesUnordered<Stream>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for NewStreams {
    fn execute(&self, stream: F) {
        let stream = AssertUnwindSafe(stream).catch_unwind().map(drop);
        lock(&self.0).push_back(Box::pin(stream));
    }
}

impl NewStreams {
    /// Returns the next stream, and whether there are more.
    fn next(&self) -> Option<(Stream, bool)> {
        let mut streams = lock(&self.0);
        let next = streams.pop_front();
        if next.is_none() && streams.capacity() > KEPT_PLACES {
            streams.shrink_to(KEPT_PLACES);
        }
        next.map(|next| (next, !streams.is_empty()))
    }
}

impl Streams {
    /// Returns the executor for the connection.
    pub(super) fn executor(&self) -> NewStreams {
        self.new.clone()
    }

    /// Polls each new stream once, for [`TURN`] at most. Returns false if some are left for the next turn of the task.
    ///
    /// `batch` collects the records of several streams. A single stream writes its record at once, and so need not be polled again.
    pub(super) fn poll_new(&mut self, context: &mut Context<'_>, batch: Option<&AuditBatch>) -> bool {
        let mut began = None;
        while let Some((mut stream, has_more)) = self.new.next() {
            // The clock is read only if a stream waits behind this one.
            let began = has_more.then(|| *began.get_or_insert_with(Instant::now));
            if let Some(batch) = batch {
                batch.collect(has_more || !self.polled.is_empty());
            }
            if stream.as_mut().poll(context).is_pending() {
                self.polled.push(stream);
            }
            if began.is_some_and(|began| began.elapsed() > TURN) {
                context.waker().wake_by_ref();
                return false;
            }
        }
        true
    }

    /// Polls these streams once more, if their records were written: most of them end. The others wait.
    pub(super) fn poll_again(&mut self, context: &mut Context<'_>, is_written: bool) {
        for mut stream in self.polled.drain(..) {
            if !is_written || stream.as_mut().poll(context).is_pending() {
                self.waiting.push(stream);
            }
        }
        self.polled.shrink_to(KEPT_PLACES);
    }

    /// Polls the waiting streams that were woken, and those that wait since this round.
    pub(super) fn poll_waiting(&mut self, context: &mut Context<'_>) {
        // An empty set would note the waker each time.
        while !self.waiting.is_empty()
            && let Poll::Ready(Some(())) = self.waiting.poll_next_unpin(context)
        {}
    }
}

/// Each stream has a handle of the list of new ones: those that never started would keep it, and themselves, for ever.
impl Drop for Streams {
    fn drop(&mut self) {
        let new = std::mem::take(&mut *lock(&self.new.0));
        drop(new);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use tokio::sync::Notify;

    use super::*;
    use crate::audit::test_disk::Disk;
    use crate::clock::SystemClock;

    fn poll(streams: &mut Streams) {
        let context = &mut Context::from_waker(Waker::noop());
        streams.poll_new(context, None);
        streams.poll_again(context, false);
        streams.poll_waiting(context);
    }

    #[test]
    fn waiting_stream_is_polled_when_it_is_woken() {
        let (mut streams, polls, notify) = (Streams::default(), Arc::<AtomicUsize>::default(), Arc::new(Notify::new()));
        let (counted, notified) = (Arc::clone(&polls), Arc::clone(&notify));
        streams.executor().execute(async move {
            let mut notified = Box::pin(notified.notified());
            poll_fn(|context| {
                counted.fetch_add(1, Ordering::Relaxed);
                notified.as_mut().poll(context)
            })
            .await;
        });
        let context = &mut Context::from_waker(Waker::noop());
        streams.poll_new(context, None);
        assert_eq!(polls.load(Ordering::Relaxed), 1, "at once");
        streams.poll_again(context, false);
        assert_eq!(polls.load(Ordering::Relaxed), 1, "no record was written");
        streams.poll_waiting(context);
        assert_eq!(polls.load(Ordering::Relaxed), 2, "with the waker of the stream");
        (0..3).for_each(|_| poll(&mut streams));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
        notify.notify_waiters();
        (0..3).for_each(|_| poll(&mut streams));
        assert_eq!(polls.load(Ordering::Relaxed), 3);
        assert!(streams.waiting.is_empty());
    }

    #[test]
    fn stream_that_waits_for_one_write_ends_with_it() {
        let (mut streams, written) = (Streams::default(), Arc::new(AtomicUsize::new(0)));
        for writes in [1, 2] {
            let written = Arc::clone(&written);
            streams.executor().execute(poll_fn(move |_| {
                if written.load(Ordering::Relaxed) < writes { Poll::Pending } else { Poll::Ready(()) }
            }));
        }
        let context = &mut Context::from_waker(Waker::noop());
        streams.poll_new(context, None);
        written.store(1, Ordering::Relaxed);
        streams.poll_again(context, true);
        assert_eq!((streams.polled.len(), streams.waiting.len()), (0, 1));
        written.store(2, Ordering::Relaxed);
        streams.poll_waiting(context);
        assert!(streams.waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_stream_leaves_new_ones_to_the_next_turn() {
        let mut streams = Streams::default();
        (0..3).for_each(|_| streams.executor().execute(tokio::time::advance(2 * TURN)));
        let context = &mut Context::from_waker(Waker::noop());
        assert_eq!([(); 3].map(|()| streams.poll_new(context, None)), [false, false, true]);
    }

    #[tokio::test]
    async fn records_of_several_streams_are_collected() {
        let disk = Disk::with_room(u64::MAX);
        let batch = disk.audit_log(0, Arc::new(SystemClock::new())).batch();
        for (waits, collected) in [
            (vec![true], vec![false]),
            (vec![true; 3], vec![true; 3]),
            (vec![false, false, true], vec![true, true, false]),
        ] {
            let (mut streams, seen) = (Streams::default(), Arc::<Mutex<Vec<bool>>>::default());
            for waits in waits {
                let (batch, seen) = (batch.clone(), Arc::clone(&seen));
                streams.executor().execute(poll_fn(move |_| {
                    lock(&seen).push(batch.is_collecting());
                    if waits { Poll::Pending } else { Poll::Ready(()) }
                }));
            }
            streams.poll_new(&mut Context::from_waker(Waker::noop()), Some(&batch));
            assert_eq!(*lock(&seen), collected);
        }
    }

    fn panics() {
        panic!("a stream, on purpose");
    }

    #[test]
    fn panic_of_a_stream_ends_only_that_stream() {
        let (mut streams, ended) = (Streams::default(), Arc::<AtomicUsize>::default());
        let executor = streams.executor();
        executor.execute(async move { panics() });
        executor.execute(async move {
            tokio::task::yield_now().await;
            panics();
        });
        for _ in 0..2 {
            let ended = Arc::clone(&ended);
            executor.execute(async move {
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        (0..3).for_each(|_| poll(&mut streams));
        assert_eq!(ended.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn streams_end_with_their_connection() {
        let alive = Arc::new(());
        for is_started in [true, false] {
            let mut streams = Streams::default();
            // As hyper's streams do, it keeps a handle of the executor.
            let kept = (Arc::clone(&alive), streams.executor());
            streams.executor().execute(async move {
                let _kept = kept;
                pending::<()>().await;
            });
            if is_started {
                poll(&mut streams);
            }
            assert_eq!(Arc::strong_count(&alive), 2);
            drop(streams);
            assert_eq!(Arc::strong_count(&alive), 1, "started: {is_started}");
        }
    }

    #[test]
    fn burst_of_streams_leaves_no_memory() {
        let mut streams = Streams::default();
        (0..1_000).for_each(|_| streams.executor().execute(ready(())));
        poll(&mut streams);
        assert!(lock(&streams.new.0).capacity() <= KEPT_PLACES);
        (0..1_000).for_each(|_| streams.executor().execute(pending()));
        poll(&mut streams);
        assert!(streams.polled.capacity() <= KEPT_PLACES);
    }
}
