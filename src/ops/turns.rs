//! Turns of work that peers may ask for at any rate: one at a time, and for a tenth of a core at most.
//!
//! With many cached keys, a page takes milliseconds of a core.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep_until};

/// Time without work after each turn, in multiples of what it took.
const REST: u32 = 9;
/// Longest time without work. A turn during which the machine stands still must not end the pages for long.
const MAX_REST: Duration = Duration::from_secs(10);

/// Gives turns in the order in which they are asked for. A clone is a handle of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Option<Instant>>>);

/// A turn. The next one can begin some time after it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    /// When the next work may begin.
    next: OwnedMutexGuard<Option<Instant>>,
    began: Option<Instant>,
}

impl Turns {
    /// Waits until no other peer has the turn.
    pub(super) async fn take(&self) -> Turn {
        Turn { next: Arc::clone(&self.0).lock_owned().await, began: None }
    }
}

impl Turn {
    /// Waits until the work may begin.
    pub(super) async fn begin(&mut self) {
        if let Some(next) = *self.next {
            sleep_until(next).await;
        }
        self.began = Some(Instant::now());
    }
}

/// A peer that leaves frees no time for another turn.
impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            let took = began.elapsed();
            *self.next = Some(began + took + took.saturating_mul(REST).min(MAX_REST));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_take_a_tenth_of_the_time_also_of_peers_that_leave() {
        let (turns, took, start) = (Turns::default(), Duration::from_millis(5), Instant::now());
        for _ in 0..4 {
            let mut turn = turns.take().await;
            turn.begin().await;
            advance(took).await;
        }
        assert_eq!(start.elapsed(), took * (3 * (1 + REST) + 1));
        drop(turns.take().await);
        let mut last = turns.take().await;
        last.begin().await;
        assert_eq!(start.elapsed(), took * 4 * (1 + REST), "a turn without work takes no time");
    }
    #[tokio::test(start_paused = true)]
    async fn turn_of_an_hour_delays_the_next_by_seconds() {
        let (turns, hour) = (Turns::default(), Duration::from_hours(1));
        let mut stuck = turns.take().await;
        stuck.begin().await;
        advance(hour).await;
        drop(stuck);
        let (start, mut next) = (Instant::now(), turns.take().await);
        next.begin().await;
        assert_eq!(start.elapsed(), MAX_REST);
    }
}
