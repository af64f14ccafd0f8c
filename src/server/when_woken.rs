//! Futures that wait in a busy task, and are polled only when they were woken themselves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::task::coop::{Unconstrained, unconstrained};

use super::gate::Gate;

/// A future that other wakes of its task do not reach.
pub(super) struct WhenWoken<F> {
    gate: Arc<Gate>,
    waker: Waker,
    inner: Pin<Box<Unconstrained<F>>>,
}

impl<F: Future> WhenWoken<F> {
    /// Polls `inner` once it is woken. The rest of the task may use up the task's budget of operations: it does not apply to `inner`.
    pub(super) fn new(inner: F) -> Self {
        let gate = Gate::new();
        Self { waker: Waker::from(Arc::clone(&gate)), gate, inner: Box::pin(unconstrained(inner)) }
    }
}

impl<F: Future> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { gate, waker, inner } = &mut *self;
        gate.set_task(context.waker());
        if !gate.is_woken() {
            return Poll::Pending;
        }
        gate.begin_poll();
        let polled = inner.as_mut().poll(&mut Context::from_waker(waker));
        gate.end_poll();
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::sync::Notify;
    use tokio::task::coop::has_budget_remaining;
    use tokio::time::{Duration, Instant, sleep};

    use super::*;

    #[tokio::test]
    async fn future_is_polled_only_when_it_was_woken() {
        let (notify, mut polls) = (Notify::new(), 0);
        let mut notified = pin!(notify.notified());
        let mut waits = WhenWoken::new(poll_fn(|context| {
            polls += 1;
            notified.as_mut().poll(context).map(|()| polls)
        }));
        poll_fn(|context| {
            assert!((0..5).all(|_| Pin::new(&mut waits).poll(context).is_pending()));
            Poll::Ready(())
        })
        .await;
        notify.notify_waiters();
        assert_eq!(waits.await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn timer_ends_although_the_task_has_used_up_its_budget() {
        let start = Instant::now();
        let mut timer = WhenWoken::new(sleep(Duration::from_secs(2)));
        poll_fn(|context| {
            while has_budget_remaining() {
                let mut consumes = pin!(tokio::task::consume_budget());
                assert!(consumes.as_mut().poll(context).is_ready());
            }
            Pin::new(&mut timer).poll(context)
        })
        .await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }
}
