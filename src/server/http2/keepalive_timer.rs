//! The timer of hyper's keepalive, which hyper asks several times per request.
//!
//! hyper reads the clock for each part of a request, and polls its timer before each. Here it gets one reading per turn of the
//! connection, and a timer that is set already is left alone until it has elapsed.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::task::coop::unconstrained;

use super::turns::Turns;

/// Makes the timers of one connection.
#[derive(Debug)]
pub(super) struct KeepaliveTimer(Turns);

/// A timer of hyper.
#[derive(Debug)]
struct SetSleep {
    inner: Pin<Box<tokio::time::Sleep>>,
    /// What the timer wakes; none before the first poll.
    waker: Option<Waker>,
}

impl KeepaliveTimer {
    /// Reads the clock once per turn.
    pub(super) fn new(turns: Turns) -> Self {
        Self(turns)
    }
}

impl Timer for KeepaliveTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(SetSleep { inner: Box::pin(tokio::time::sleep_until(deadline.into())), waker: None })
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        if let Some(mut sleep) = sleep.as_mut().downcast_mut_pin::<SetSleep>() {
            sleep.inner.as_mut().reset(new_deadline.into());
            sleep.waker = None;
        }
    }

    fn now(&self) -> Instant {
        self.0.now().into()
    }
}

impl Future for SetSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { inner, waker } = &mut *self;
        let is_set = waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if is_set && !inner.is_elapsed() {
            return Poll::Pending;
        }
        // A task that has used up its budget of operations would not set it.
        let polled = pin!(unconstrained(inner.as_mut())).poll(context);
        *waker = polled.is_pending().then(|| context.waker().clone());
        polled
    }
}

impl Sleep for SetSleep {}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::coop::has_budget_remaining;
    use tokio::time::{self, advance};

    use super::*;
    use crate::sync::counting_waker::counting;

    fn timer() -> (KeepaliveTimer, Turns) {
        let turns = Turns::default();
        turns.begin();
        (KeepaliveTimer::new(turns.clone()), turns)
    }

    fn poll(sleep: &mut Pin<Box<dyn Sleep>>, waker: &Waker) -> bool {
        sleep.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_wakes_the_task_that_polled_last() {
        let (timer, turns) = timer();
        let (first, second) = (counting(), counting());
        let mut sleep = timer.sleep(Duration::from_secs(30));
        for waker in [&first.1, &second.1, &second.1] {
            turns.begin();
            assert!(!poll(&mut sleep, waker));
        }
        advance(Duration::from_secs(29)).await;
        turns.begin();
        assert!(!poll(&mut sleep, &second.1));
        assert_eq!(second.0.take(), 0);
        advance(Duration::from_secs(2)).await;
        assert_eq!([&first, &second].map(|(wakes, _)| wakes.take()), [0, 1]);
        turns.begin();
        assert!(poll(&mut sleep, &second.1));
    }

    #[tokio::test(start_paused = true)]
    async fn reset_timer_ends_at_its_new_deadline() {
        let (timer, turns) = timer();
        let (count, waker) = counting();
        let mut sleep = timer.sleep(Duration::from_secs(30));
        assert!(!poll(&mut sleep, &waker));
        timer.reset(&mut sleep, timer.now() + Duration::from_secs(10));
        assert!(!poll(&mut sleep, &waker));
        advance(Duration::from_secs(11)).await;
        turns.begin();
        assert!(count.take() == 1 && poll(&mut sleep, &waker));
        timer.reset(&mut sleep, timer.now() + Duration::from_secs(10));
        assert!(!poll(&mut sleep, &waker));
        advance(Duration::from_secs(11)).await;
        turns.begin();
        assert!(count.take() == 1 && poll(&mut sleep, &waker));
    }

    #[tokio::test(start_paused = true)]
    async fn timer_is_set_although_the_task_has_used_up_its_budget() {
        let (timer, _turns) = timer();
        let start = time::Instant::now();
        let mut sleep = timer.sleep(Duration::from_secs(2));
        poll_fn(|context| {
            while has_budget_remaining() {
                let mut consumes = pin!(tokio::task::consume_budget());
                assert!(consumes.as_mut().poll(context).is_ready());
            }
            assert!(sleep.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        let mut polls = 0;
        poll_fn(|context| {
            polls += 1;
            // The waker of this task is the same as in the poll before.
            if polls == 1 && sleep.as_mut().poll(context).is_pending() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }
}
