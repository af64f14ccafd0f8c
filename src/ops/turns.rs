//! Turns of work that peers may ask for at any rate: one at a time, and for a tenth of a core at most.
//!
//! With many cached keys, a page takes milliseconds of a core.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep_until};

/// Time without work after each turn, in multiples of what it took.
const REST: u32 = 9;

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
            *self.next = Some(began + began.elapsed() * (1 + REST));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
