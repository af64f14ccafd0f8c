//! Peer watchdog: finds peers that stall a connection.
//!
//! h2 itself ends floods of resets, of CONTINUATION and of empty DATA. But h2 has no timeout for three waits: for the rest of a
//! frame, for the peer to read responses, and for its own GOAWAY to be sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::api::grpc::response_admission::ResponseAdmission;
use crate::sync::lock;

/// Time limit for each duty of the peer: acknowledge the settings, finish a frame or header block, read some bytes.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Time between two checks. The connection ends when two checks in a row find the same problem. One check could be wrong: after
/// a pause of the broker itself, every peer looks late.
const INTERVAL: Duration = Duration::from_secs(2);
/// Time between two checks while a problem is suspected. Such a check finds nothing while the broker itself reads no more, for want of
/// memory; so a late peer is found soon after.
const SUSPICIOUS_INTERVAL: Duration = Duration::from_millis(500);
/// Bytes that a peer must read within [`INTERVAL`] while responses wait for it. A peer that reads only acknowledgements of PING and
/// SETTINGS stays below this minimum.
const MIN_READ: u64 = 16 * 1024;
/// Calls for which an idle connection keeps memory.
const KEPT_ADMISSIONS: usize = 16;
/// Consecutive intervals below the minimum that make a problem, each with responses that wait at both its ends. So a peer that stops
/// reading is found after 6.5 to 8.5 s, whatever it read before.
const SLOW_INTERVALS: u32 = 3;

/// Watches the peer of one connection. A clone is a handle of the same state.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerWatchdog(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    peer: Mutex<PeerState>,
    /// Calls in flight.
    calls: AtomicUsize,
}

/// A call, from its headers to the end of its response. While one exists, the connection is not idle.
#[derive(Debug)]
pub(super) struct CallGuard(PeerWatchdog);

/// What the peer still owes the connection.
#[derive(Debug, Default)]
struct PeerState {
    /// Send time of the settings that the peer has not acknowledged.
    unacknowledged: Option<Instant>,
    /// Start of the frame or header block that the peer has not finished.
    unfinished: Option<Instant>,
    /// Time since which the peer has read nothing although bytes wait for it.
    unread: Option<Instant>,
    /// Response chunks that are not sent yet.
    chunks: usize,
    /// Whether bytes are collected that the kernel has not accepted.
    is_unsent: bool,
    /// How many of the chunks are among these bytes.
    collected: usize,
    /// The calls of these chunks, which count until then.
    admissions: Vec<ResponseAdmission>,
    /// Start of the interval in which sent bytes are counted.
    interval: Option<Instant>,
    /// Whether responses waited at the start of this interval.
    is_waiting: bool,
    /// Bytes sent in this interval.
    sent: u64,
    /// Consecutive intervals with too few bytes sent.
    slow_intervals: u32,
    /// The problem that the last check found.
    suspected: Option<&'static str>,
}

/// What a check finds.
#[derive(Debug, PartialEq, Eq)]
enum Check {
    Problem(&'static str),
    /// Nothing yet: the next check follows after this time.
    Again(Duration),
}

impl PeerWatchdog {
    /// Completes with a problem once the peer has stalled the connection for too long.
    pub(super) async fn problem(&self) -> &'static str {
        loop {
            match self.check() {
                Check::Problem(problem) => return problem,
                Check::Again(delay) => sleep(delay).await,
            }
        }
    }

    /// Notes a call.
    pub(super) fn begin_call(&self) -> CallGuard {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        CallGuard(self.clone())
    }

    /// Returns whether no call is in flight, and no response waits to be sent.
    pub(super) fn is_idle(&self) -> bool {
        self.0.calls.load(Ordering::Relaxed) == 0 && self.state().chunks == 0
    }

    /// Notes that settings were sent.
    pub(super) fn note_settings(&self) {
        self.state().unacknowledged = Some(Instant::now());
    }

    /// Notes that the peer acknowledged the settings.
    pub(super) fn note_acknowledged(&self) {
        self.state().unacknowledged = None;
    }

    /// Notes the start of a frame or header block that the peer has not finished; `None` once it has.
    pub(super) fn note_unfinished(&self, since: Option<Instant>) {
        self.state().unfinished = since;
    }

    /// Notes that nothing more can be sent until the peer reads.
    pub(super) fn note_unread(&self) {
        self.state().unread.get_or_insert_with(Instant::now);
    }

    /// Notes bytes that the kernel accepted for sending.
    pub(super) fn note_sent(&self, bytes: usize) {
        let mut state = self.state();
        state.unread = None;
        state.sent = state.sent.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Notes a response chunk that waits to be sent.
    pub(super) fn note_chunk(&self) {
        self.state().chunks += 1;
    }

    /// Notes that a response chunk was collected for sending, or discarded. `admission` counts until all that is collected is sent.
    pub(super) fn note_chunk_gone(&self, admission: Option<ResponseAdmission>) {
        let mut state = self.state();
        if state.is_unsent {
            state.collected += 1;
            state.admissions.extend(admission);
        } else {
            state.chunks -= 1;
        }
    }

    /// Notes that bytes are collected that the kernel has not accepted.
    pub(super) fn note_unsent(&self) {
        self.state().is_unsent = true;
    }

    /// Notes that the kernel has accepted all that was collected.
    pub(super) fn note_all_sent(&self) {
        let mut state = self.state();
        state.is_unsent = false;
        state.chunks -= std::mem::take(&mut state.collected);
        state.admissions.clear();
        state.admissions.shrink_to(KEPT_ADMISSIONS);
    }

    /// Checks the peer for a problem that two checks in a row find.
    fn check(&self) -> Check {
        let mut state = self.state();
        let found = state.check();
        match (std::mem::replace(&mut state.suspected, found), found) {
            (Some(before), Some(found)) if before == found => Check::Problem(found),
            (None, None) => Check::Again(INTERVAL),
            _ => Check::Again(SUSPICIOUS_INTERVAL),
        }
    }

    fn state(&self) -> MutexGuard<'_, PeerState> {
        lock(&self.0.peer)
    }
}

impl CallGuard {
    pub(super) fn watchdog(&self) -> &PeerWatchdog {
        &self.0
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PeerState {
    fn check(&mut self) -> Option<&'static str> {
        self.check_speed();
        let overdue = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() >= TIME_LIMIT);
        if overdue(self.unacknowledged) {
            Some("settings not acknowledged")
        } else if overdue(self.unfinished) {
            Some("frame not finished")
        } else if overdue(self.unread) {
            Some("nothing read")
        } else if self.chunks > 0 && self.slow_intervals >= SLOW_INTERVALS {
            Some("responses not read")
        } else {
            None
        }
    }

    /// Counts the bytes of the interval, once it is over.
    fn check_speed(&mut self) {
        if self.interval.is_some_and(|began| began.elapsed() < INTERVAL) {
            return;
        }
        self.interval = Some(Instant::now());
        let sent = std::mem::take(&mut self.sent);
        let was_waiting = std::mem::replace(&mut self.is_waiting, self.chunks > 0);
        let is_slow = was_waiting && self.is_waiting && sent < MIN_READ;
        self.slow_intervals = if is_slow { self.slow_intervals + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Runs up to 20 checks. Returns the first problem, and the time until it was found.
    async fn until_found(watchdog: &PeerWatchdog, mut between: impl FnMut()) -> Option<(&'static str, Duration)> {
        let began = Instant::now();
        for _ in 0..20 {
            match watchdog.check() {
                Check::Problem(problem) => return Some((problem, began.elapsed())),
                Check::Again(delay) => {
                    between();
                    advance(delay).await;
                }
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_peer_is_found_within_ten_seconds() {
        type Note = fn(&PeerWatchdog);
        let cases: [(&str, Note, Note); 4] = [
            ("settings not acknowledged", PeerWatchdog::note_settings, PeerWatchdog::note_acknowledged),
            (
                "frame not finished",
                |watchdog| watchdog.note_unfinished(Some(Instant::now())),
                |watchdog| watchdog.note_unfinished(None),
            ),
            ("nothing read", PeerWatchdog::note_unread, |watchdog| watchdog.note_sent(1)),
            ("responses not read", PeerWatchdog::note_chunk, |watchdog| watchdog.note_chunk_gone(None)),
        ];
        for (expected, stall, go_on) in cases {
            let watchdog = PeerWatchdog::default();
            stall(&watchdog);
            let (problem, after) = until_found(&watchdog, || ()).await.unwrap();
            assert_eq!(problem, expected);
            assert!((TIME_LIMIT..=Duration::from_secs(10)).contains(&after), "{expected}: {after:?}");
            go_on(&watchdog);
            assert_eq!(until_found(&watchdog, || ()).await, None, "{expected}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn chunk_counts_until_all_that_was_collected_is_sent() {
        let watchdog = PeerWatchdog::default();
        (0..2).for_each(|_| watchdog.note_chunk());
        watchdog.note_unsent();
        watchdog.note_chunk_gone(None);
        assert_eq!(watchdog.state().chunks, 2, "the kernel has not accepted it");
        let (problem, _) = until_found(&watchdog, || ()).await.unwrap();
        assert_eq!(problem, "responses not read");
        watchdog.note_all_sent();
        assert!(!watchdog.is_idle());
        watchdog.note_chunk_gone(None);
        assert!(watchdog.is_idle(), "nothing was collected when it was discarded");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_reader_is_kept_and_a_reader_of_pings_only_is_found() {
        let watchdog = PeerWatchdog::default();
        watchdog.note_chunk();
        let slow = || watchdog.note_sent(17_000);
        assert_eq!(until_found(&watchdog, slow).await, None);
        // The peer resets some responses, asks for others, and its PINGs are answered.
        let pretending = || {
            watchdog.note_chunk();
            watchdog.note_chunk_gone(None);
            watchdog.note_sent(400 * 17);
        };
        let (problem, after) = until_found(&watchdog, pretending).await.unwrap();
        assert_eq!(problem, "responses not read");
        assert!(after <= Duration::from_secs(10), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_stops_reading_at_any_moment_is_found_within_ten_seconds() {
        for millis in (0..4000).step_by(100) {
            let watchdog = PeerWatchdog::default();
            let peer = async {
                sleep(Duration::from_millis(millis)).await;
                watchdog.note_chunk();
                watchdog.note_sent(17_000);
                Instant::now()
            };
            let (problem, stopped) = tokio::join!(watchdog.problem(), peer);
            assert_eq!(problem, "responses not read");
            let found_after = stopped.elapsed();
            let expected = Duration::from_millis(6_500)..=Duration::from_millis(8_500);
            assert!(expected.contains(&found_after), "{millis} ms: {found_after:?}");
        }
    }

    /// The broker was paused for a minute. The peer sent its acknowledgement meanwhile, but the broker has not read it yet.
    #[tokio::test(start_paused = true)]
    async fn pause_of_the_broker_is_not_a_problem_of_the_peer() {
        let watchdog = PeerWatchdog::default();
        watchdog.note_settings();
        advance(Duration::from_mins(1)).await;
        assert_eq!(watchdog.check(), Check::Again(SUSPICIOUS_INTERVAL));
        watchdog.note_acknowledged();
        assert_eq!(until_found(&watchdog, || ()).await, None);
        assert_eq!(watchdog.check(), Check::Again(INTERVAL));
    }

    /// The broker reads no more at the second check, for want of memory.
    #[tokio::test(start_paused = true)]
    async fn pause_of_reads_delays_the_end_of_a_stalled_peer_by_less_than_a_second() {
        let watchdog = PeerWatchdog::default();
        let began = Instant::now();
        watchdog.note_unfinished(Some(began));
        while watchdog.check() == Check::Again(INTERVAL) {
            advance(INTERVAL).await;
        }
        let suspected = Instant::now();
        watchdog.note_unfinished(None);
        advance(SUSPICIOUS_INTERVAL).await;
        assert_eq!(watchdog.check(), Check::Again(SUSPICIOUS_INTERVAL));
        watchdog.note_unfinished(Some(began));
        let (problem, _) = until_found(&watchdog, || ()).await.unwrap();
        assert_eq!(problem, "frame not finished");
        assert!(suspected.elapsed() <= 3 * SUSPICIOUS_INTERVAL, "{:?}", suspected.elapsed());
    }
}
