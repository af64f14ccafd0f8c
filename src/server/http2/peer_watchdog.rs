//! What a peer has to do for its connection to be kept, and how much it may send that asks for nothing.
//!
//! h2 itself ends floods of resets, of CONTINUATION and of empty DATA; SETTINGS and PING it answers without end, and it waits without end
//! for the rest of a frame, for answers to be taken and for its own last words to be sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A peer has this long to acknowledge the settings, to finish a frame or a header block that it has begun, and to read something.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it did. What is found twice in a row is a problem: after a pause of the broker's own, once is none.
pub(in crate::server) const INTERVAL: Duration = Duration::from_secs(2);
/// While there are answers for a peer, it takes at least so much between two looks; more than PING and SETTINGS alone could make.
const LEAST_TAKEN: u64 = 16 * 1024;
/// So often less is found before it is a problem.
const STARVED_LOOKS: u32 = 3;
/// Frames that a peer may send without asking for anything, after a quiet time.
const BURST: f64 = 2_000.0;
/// And in a second.
const FRAMES_PER_SECOND: f64 = 200.0;
/// A request comes with DATA, and its answer is followed by `WINDOW_UPDATE` and PING. Trailers count for a request too.
const FRAMES_PER_REQUEST: f64 = 16.0;
/// So is what is streamed: for this many bytes that are sent to it, a peer may send a frame.
const BYTES_PER_FRAME: f64 = 256.0;

/// What the peer of one connection has yet to do. A clone is another handle of the same.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct PeerWatchdog(Arc<Mutex<Duties>>);

#[derive(Debug, Default)]
struct Duties {
    /// Since when the settings are sent and not acknowledged.
    unacknowledged: Option<Instant>,
    /// Since when a frame or a header block is begun and not over, while the rest of it is waited for.
    unfinished: Option<Instant>,
    /// Since when the peer has read nothing that is there for it.
    unread: Option<Instant>,
    answers: usize,
    /// What was sent since the last look, in bytes.
    sent: u64,
    starved: u32,
    suspected: Option<&'static str>,
}

/// The frames that a peer may send.
#[derive(Debug)]
pub(in crate::server) struct Budget {
    left: f64,
    since: Instant,
}

impl PeerWatchdog {
    pub(in crate::server) fn note_settings(&self) {
        self.duties().unacknowledged = Some(Instant::now());
    }

    pub(in crate::server) fn note_acknowledged(&self) {
        self.duties().unacknowledged = None;
    }

    pub(in crate::server) fn note_unfinished(&self, since: Option<Instant>) {
        self.duties().unfinished = since;
    }

    /// Nothing more can be sent until the peer reads.
    pub(in crate::server) fn note_unread(&self) {
        self.duties().unread.get_or_insert_with(Instant::now);
    }

    /// So much was given to the system to send.
    pub(in crate::server) fn note_sent(&self, bytes: usize) {
        let mut duties = self.duties();
        duties.unread = None;
        duties.sent = duties.sent.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// There is an answer for the peer, or a part of one.
    pub(in crate::server) fn note_answer(&self) {
        self.duties().answers += 1;
    }

    /// All of it has been sent, or is not to be any more.
    pub(in crate::server) fn note_gone(&self) {
        self.duties().answers -= 1;
    }

    /// What the peer has left undone for too long.
    pub(in crate::server) fn look(&self) -> Option<&'static str> {
        let mut duties = self.duties();
        let found = duties.problem();
        let before = std::mem::replace(&mut duties.suspected, found);
        found.filter(|_| found == before)
    }

    /// What it guards is whole between any two statements.
    fn duties(&self) -> MutexGuard<'_, Duties> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Duties {
    fn problem(&mut self) -> Option<&'static str> {
        let starves = self.answers > 0 && std::mem::take(&mut self.sent) < LEAST_TAKEN;
        self.starved = if starves { self.starved + 1 } else { 0 };
        let late = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() >= PATIENCE);
        if late(self.unacknowledged) {
            Some("the settings were not acknowledged")
        } else if late(self.unfinished) {
            Some("a frame was begun and not finished")
        } else if late(self.unread) {
            Some("nothing was read")
        } else if self.starved >= STARVED_LOOKS {
            Some("the answers were not taken")
        } else {
            None
        }
    }
}

impl Budget {
    pub(in crate::server) fn new() -> Self {
        Self { left: BURST, since: Instant::now() }
    }

    /// Time has passed.
    pub(in crate::server) fn refill(&mut self, now: Instant) {
        self.earn(FRAMES_PER_SECOND * now.duration_since(self.since).as_secs_f64());
        self.since = now;
    }

    /// A request was made.
    pub(in crate::server) fn note_request(&mut self) {
        self.earn(FRAMES_PER_REQUEST);
    }

    /// So much was sent to the peer.
    pub(in crate::server) fn note_sent(&mut self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "nobody sends so much at once")]
        self.earn(bytes as f64 / BYTES_PER_FRAME);
    }

    /// The peer sent a frame that is no request.
    pub(in crate::server) fn spend(&mut self) {
        self.left -= 1.0;
    }

    pub(in crate::server) fn is_spent(&self) -> bool {
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

    /// As the connection does it: how long until a look finds a problem, and which.
    async fn until_found(conduct: &PeerWatchdog, mut between: impl FnMut()) -> Option<(&'static str, Duration)> {
        let began = Instant::now();
        for _ in 0..20 {
            if let Some(problem) = conduct.look() {
                return Some((problem, began.elapsed()));
            }
            between();
            advance(INTERVAL).await;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_peer_leaves_undone_is_found_within_ten_seconds() {
        type Note = fn(&PeerWatchdog);
        let cases: [(&str, Note, Note); 4] = [
            ("the settings were not acknowledged", PeerWatchdog::note_settings, PeerWatchdog::note_acknowledged),
            (
                "a frame was begun and not finished",
                |conduct| conduct.note_unfinished(Some(Instant::now())),
                |conduct| conduct.note_unfinished(None),
            ),
            ("nothing was read", PeerWatchdog::note_unread, |conduct| conduct.note_sent(1)),
            ("the answers were not taken", PeerWatchdog::note_answer, PeerWatchdog::note_gone),
        ];
        for (expected, leave, mend) in cases {
            let conduct = PeerWatchdog::default();
            leave(&conduct);
            let (problem, after) = until_found(&conduct, || ()).await.unwrap();
            assert_eq!(problem, expected);
            assert!((PATIENCE..=Duration::from_secs(10)).contains(&after), "{expected}: {after:?}");
            mend(&conduct);
            assert_eq!(until_found(&conduct, || ()).await, None, "{expected}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_its_answers_slowly_is_kept_and_one_that_only_seems_to_is_not() {
        let conduct = PeerWatchdog::default();
        conduct.note_answer();
        let slow = || conduct.note_sent(17_000);
        assert_eq!(until_found(&conduct, slow).await, None);
        // Some answers go because the peer resets them, others come, and PINGs are answered.
        let seeming = || {
            conduct.note_answer();
            conduct.note_gone();
            conduct.note_sent(400 * 17);
        };
        let (problem, after) = until_found(&conduct, seeming).await.unwrap();
        assert_eq!(problem, "the answers were not taken");
        assert!(after <= Duration::from_secs(10), "{after:?}");
    }

    /// The broker was stopped for a minute; what the peer had sent meanwhile is not read yet.
    #[tokio::test(start_paused = true)]
    async fn a_pause_of_the_broker_s_own_is_nobody_s_fault() {
        let conduct = PeerWatchdog::default();
        conduct.note_settings();
        advance(Duration::from_mins(1)).await;
        assert_eq!(conduct.look(), None);
        conduct.note_acknowledged();
        assert_eq!(until_found(&conduct, || ()).await, None);
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
