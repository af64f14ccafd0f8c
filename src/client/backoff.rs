//! Jittered exponential backoff between attempts to reach a broker.

use std::time::Duration;

use crate::jitter;

/// Upper end of the first delay. A broker that restarts is back within milliseconds.
const FIRST: Duration = Duration::from_millis(40);
/// Upper end of later delays: a broker that took long to start is noticed soon.
const LONGEST: Duration = Duration::from_millis(400);

/// The upper end of the next delay.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST)
    }

    /// Returns the next delay, between half its upper end and all of it.
    pub(super) fn delay(&mut self) -> Duration {
        let upper = self.0;
        self.0 = (upper * 2).min(LONGEST);
        jitter::at_least(upper / 2, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_limit_and_is_jittered() {
        let mut backoff = Backoff::new();
        for upper in [40, 80, 160, 320, 400, 400].map(Duration::from_millis) {
            let delay = backoff.delay();
            assert!((upper / 2..=upper).contains(&delay), "{delay:?} of {upper:?}");
        }
    }
}
