//! The time limits of the steps.

use std::time::Duration;

use tokio::time::Instant;

/// The most that one step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// The end of the whole diagnosis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// Returns the time limit of the next step.
    pub(super) fn step_timeout(self) -> Duration {
        self.0.saturating_duration_since(Instant::now()).min(STEP_TIMEOUT)
    }
}
