//! What a peer has to do for its connection to be kept, and how much it may send that asks for nothing.
//!
//! h2 itself ends floods of resets, of CONTINUATION and of empty DATA; SETTINGS and PING it answers without end, and it waits without end
//! for the rest of a frame and for answers to be taken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A peer has this long to acknowledge the settings, to finish a frame or a header block that it has begun, and to take one of the
/// answers that are there for it.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often it is looked whether it did: it is found out within this and the other together.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// Frames that a peer may send without asking for anything, after a quiet time.
const BURST: f64 = 2_000.0;
/// And in a second.
const FRAMES_PER_SECOND: f64 = 200.0;
/// A request comes with DATA, and its answer is followed by `WINDOW_UPDATE` and PING.
const FRAMES_PER_REQUEST: f64 = 16.0;
/// So is what is streamed: for this many bytes that are sent to it, a peer may send a frame.
const BYTES_PER_FRAME: f64 = 256.0;

/// What the peer of one connection has yet to do. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Conduct(Arc<Mutex<Duties>>);

#[derive(Debug)]
struct Duties {
    /// Until the settings are acknowledged, since when they are not.
    unacknowledged: Option<Instant>,
    /// Since when a frame or a header block is begun and not over.
    unfinished: Option<Instant>,
    answers: usize,
    /// When the last of the answers was taken; or, when there were none, the first came.
    taken: Instant,
}

/// The frames that a peer may send.
#[derive(Debug)]
pub(super) struct Budget {
    left: f64,
    since: Instant,
}

impl Conduct {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Duties { unacknowledged: Some(now), unfinished: None, answers: 0, taken: now })))
    }

    pub(super) fn note_acknowledged(&self) {
        self.duties().unacknowledged = None;
    }

    pub(super) fn note_unfinished(&self, since: Option<Instant>) {
        self.duties().unfinished = since;
    }

    /// There is an answer for the peer.
    pub(super) fn note_answer(&self) {
        let mut duties = self.duties();
        if duties.answers == 0 {
            duties.taken = Instant::now();
        }
        duties.answers += 1;
    }

    /// All of it has been given to the system to send.
    pub(super) fn note_taken(&self) {
        let mut duties = self.duties();
        duties.answers -= 1;
        duties.taken = Instant::now();
    }

    /// What the peer has left undone for too long.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let duties = self.duties();
        let late = |since: Instant| since.elapsed() >= PATIENCE;
        if duties.unacknowledged.is_some_and(late) {
            Some("the settings were not acknowledged")
        } else if duties.unfinished.is_some_and(late) {
            Some("a frame was begun and not finished")
        } else if duties.answers > 0 && late(duties.taken) {
            Some("the answers were not taken")
        } else {
            None
        }
    }

    /// What it guards is whole between any two statements.
    fn duties(&self) -> MutexGuard<'_, Duties> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { left: BURST, since: Instant::now() }
    }

    /// Time has passed.
    pub(super) fn refill(&mut self, now: Instant) {
        self.earn(FRAMES_PER_SECOND * now.duration_since(self.since).as_secs_f64());
        self.since = now;
    }

    /// A request was made.
    pub(super) fn note_request(&mut self) {
        self.earn(FRAMES_PER_REQUEST);
    }

    /// So much was sent to the peer.
    pub(super) fn note_sent(&mut self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "nobody sends so much at once")]
        self.earn(bytes as f64 / BYTES_PER_FRAME);
    }

    /// The peer sent a frame that is no request.
    pub(super) fn spend(&mut self) {
        self.left -= 1.0;
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left < 0.0
    }

    fn earn(&mut self, frames: f64) {
        self.left = (self.left + frames).min(BURST);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_has_its_time_to_do_what_it_has_to() {
        let conduct = Conduct::new();
        advance(PATIENCE.mul_f64(0.99)).await;
        assert_eq!(conduct.problem(), None);
        advance(PATIENCE.mul_f64(0.01)).await;
        assert_eq!(conduct.problem(), Some("the settings were not acknowledged"));
        conduct.note_acknowledged();
        assert_eq!(conduct.problem(), None);

        conduct.note_unfinished(Some(Instant::now()));
        advance(PATIENCE).await;
        assert_eq!(conduct.problem(), Some("a frame was begun and not finished"));
        conduct.note_unfinished(None);
        assert_eq!(conduct.problem(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_one_answer_after_the_other_is_kept_and_one_that_takes_none_is_not() {
        let conduct = Conduct::new();
        conduct.note_acknowledged();
        advance(10 * PATIENCE).await;
        for _ in 0..10 {
            conduct.note_answer();
        }
        for _ in 0..9 {
            advance(PATIENCE.mul_f64(0.99)).await;
            assert_eq!(conduct.problem(), None);
            conduct.note_taken();
        }
        advance(PATIENCE).await;
        assert_eq!(conduct.problem(), Some("the answers were not taken"));
        conduct.note_taken();
        assert_eq!(conduct.problem(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_ask_for_nothing_are_in_proportion_to_those_that_do() {
        let mut budget = Budget::new();
        for _ in 0..100_000 {
            budget.note_request();
            (0..16).for_each(|_| budget.spend());
            assert!(!budget.is_spent());
        }
        for _ in 0..100_000 {
            budget.note_sent(2_560);
            (0..10).for_each(|_| budget.spend());
            assert!(!budget.is_spent());
        }
        // A PING, and its answer of 17 bytes.
        let flood = (0..).take_while(|_| {
            budget.note_sent(17);
            budget.spend();
            !budget.is_spent()
        });
        let flood = flood.count();
        assert!((2_000..2_200).contains(&flood), "{flood}");
        advance(Duration::from_secs(1)).await;
        budget.refill(Instant::now());
        let more = (0..).take_while(|_| {
            budget.spend();
            !budget.is_spent()
        });
        assert_eq!(more.count(), 199, "200 a second, one of which was owed");
    }
}
