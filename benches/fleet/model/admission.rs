//! Admission of calls to a region: the adaptive limit and the pacing of `src/source/aws/admission`.

use std::collections::VecDeque;

/// The limits that a region starts with and grows to.
const FIRST_LIMIT: u32 = 8;
const MAX_LIMIT: u32 = 64;
/// The pacing interval after a throttled call, its ends, and the factor of an admitted call.
const FIRST_INTERVAL: f64 = 0.05;
const MAX_INTERVAL: f64 = 0.5;
const MIN_INTERVAL: f64 = 0.005;
const SHRINK_FACTOR: f64 = 0.9;

/// The calls of one broker to one region.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<u32>,
    limit: u32,
    in_flight: u32,
    is_slow_start: bool,
    admitted: u32,
    interval: f64,
    next_start: f64,
    /// Time at which the limit was last halved. Calls that started before it say nothing about the new one.
    slowed_at: f64,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            limit: FIRST_LIMIT,
            in_flight: 0,
            is_slow_start: true,
            admitted: 0,
            interval: 0.0,
            next_start: f64::MIN,
            slowed_at: f64::MIN,
        }
    }
}

/// What the next queued call may do.
#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    Start(u32),
    At(f64),
    Nothing,
}

impl Lane {
    pub(super) fn turn(&mut self, now: f64) -> Turn {
        if self.in_flight >= self.limit || self.queue.is_empty() {
            return Turn::Nothing;
        }
        if self.next_start > now {
            return Turn::At(self.next_start);
        }
        self.next_start = now + self.interval;
        self.in_flight += 1;
        self.queue.pop_front().map_or(Turn::Nothing, Turn::Start)
    }

    pub(super) fn record(&mut self, started: f64, is_admitted: bool, now: f64) {
        self.in_flight -= 1;
        if started <= self.slowed_at {
            return;
        }
        if is_admitted { self.speed_up() } else { self.slow_down(now) }
    }

    fn speed_up(&mut self) {
        self.admitted += 1;
        if self.is_slow_start || self.admitted >= self.limit {
            self.admitted = 0;
            self.limit = (self.limit + 1).min(MAX_LIMIT);
        }
        self.interval *= SHRINK_FACTOR;
        if self.interval < MIN_INTERVAL {
            self.interval = 0.0;
        }
    }

    fn slow_down(&mut self, now: f64) {
        self.is_slow_start = false;
        self.limit = (self.limit / 2).max(1);
        self.interval = (self.interval * 2.0).clamp(FIRST_INTERVAL, MAX_INTERVAL);
        self.slowed_at = now;
        self.next_start = self.next_start.max(now + self.interval);
    }
}
