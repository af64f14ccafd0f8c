//! Turns of a connection: lets its calls run between two requests.
//!
//! h2 decodes all requests that it can read before the first of them reaches its handler. Short headers on the wire can take 80 KB
//! once they are decoded, so an unproved peer gets one request decoded per turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// No reading of the clock in this turn.
const UNREAD: u64 = u64::MAX;

/// Counts the turns of one connection, and has the time of each. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<State>);

#[derive(Debug)]
struct State {
    count: AtomicU64,
    start: Instant,
    /// Nanoseconds from `start` to the reading of the clock in this turn, or [`UNREAD`].
    now: AtomicU64,
}

impl Turns {
    /// Begins a turn: the connection will be polled, and every earlier request has reached its handler.
    pub(super) fn begin(&self) {
        self.0.now.store(UNREAD, Ordering::Relaxed);
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of the current turn.
    pub(super) fn current(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Returns the time at which the current turn first asked for it. Only for what happens while the connection is polled.
    pub(super) fn now(&self) -> Instant {
        let State { count, start, now } = &*self.0;
        let known = now.load(Ordering::Relaxed);
        if known != UNREAD {
            return *start + Duration::from_nanos(known);
        }
        let time = Instant::now();
        if count.load(Ordering::Relaxed) > 0 {
            let since_start = u64::try_from(time.duration_since(*start).as_nanos()).unwrap_or(UNREAD);
            now.store(since_start, Ordering::Relaxed);
        }
        time
    }
}

impl Default for Turns {
    fn default() -> Self {
        let state = State { count: AtomicU64::default(), start: Instant::now(), now: AtomicU64::new(UNREAD) };
        Self(Arc::new(state))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clock_is_read_once_per_turn() {
        let (turns, start, step) = (Turns::default(), Instant::now(), Duration::from_nanos(1_000_000_001));
        let mut times = Vec::new();
        for _ in 0..2 {
            times.push(turns.now() - start);
            advance(step).await;
        }
        for _ in 0..2 {
            turns.begin();
            times.push(turns.now() - start);
            advance(step).await;
            times.push(turns.now() - start);
        }
        assert_eq!(times, [0, 1, 2, 2, 3, 3].map(|count| step * count), "before the first turn each time");
        assert_eq!(turns.current(), 2);
    }
}
