//! Frame budget: ends floods of frames that carry no request.
//!
//! h2 answers any number of SETTINGS and PING frames. The budget for frames without a request grows with the peer's requests, with
//! the bytes that it receives, and with time; it also allows a burst.

use tokio::time::Instant;

/// Frames without a request that a peer may send at once, after a quiet time.
const BURST: f64 = 2_000.0;
/// Frames without a request per second.
const FRAMES_PER_SECOND: f64 = 200.0;
/// Frames per request. A request comes with DATA, and its response is followed by `WINDOW_UPDATE` and PING. Trailers count as a
/// request too.
const FRAMES_PER_REQUEST: f64 = 16.0;
/// Bytes sent to the peer that allow it one more frame.
const BYTES_PER_FRAME: f64 = 256.0;

/// The frames that a peer may still send.
#[derive(Debug)]
pub(super) struct FrameBudget {
    left: f64,
    refilled: Instant,
}

impl FrameBudget {
    pub(super) fn new() -> Self {
        Self { left: BURST, refilled: Instant::now() }
    }

    /// Deposits for the time since the last refill.
    pub(super) fn refill(&mut self, now: Instant) {
        self.deposit(FRAMES_PER_SECOND * now.duration_since(self.refilled).as_secs_f64());
        self.refilled = now;
    }

    /// Deposits for a request.
    pub(super) fn note_request(&mut self) {
        self.deposit(FRAMES_PER_REQUEST);
    }

    /// Deposits for bytes sent to the peer.
    pub(super) fn note_sent(&mut self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "the bytes of one write")]
        self.deposit(bytes as f64 / BYTES_PER_FRAME);
    }

    /// Withdraws one frame without a request.
    pub(super) fn withdraw(&mut self) {
        self.left -= 1.0;
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.left < 0.0
    }

    fn deposit(&mut self, frames: f64) {
        self.left = (self.left + frames).min(BURST);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn frames_in_proportion_to_requests_and_bytes_pass_and_floods_do_not() {
        let mut budget = FrameBudget::new();
        for _ in 0..100_000 {
            budget.note_request();
            (0..16).for_each(|_| budget.withdraw());
            assert!(!budget.is_exceeded());
        }
        for _ in 0..100_000 {
            budget.note_sent(2_560);
            (0..10).for_each(|_| budget.withdraw());
            assert!(!budget.is_exceeded());
        }
        // A PING and its answer of 17 bytes.
        let flood = (0..).take_while(|_| {
            budget.note_sent(17);
            budget.withdraw();
            !budget.is_exceeded()
        });
        let flood = flood.count();
        assert!((2_000..2_200).contains(&flood), "{flood}");
        advance(Duration::from_secs(1)).await;
        budget.refill(Instant::now());
        let more = (0..).take_while(|_| {
            budget.withdraw();
            !budget.is_exceeded()
        });
        assert_eq!(more.count(), 199, "200 a second, less the one that was owed");
    }
}
