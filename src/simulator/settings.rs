//! The settings of the simulated AWS.

use std::time::Duration;

use super::answer::Answer;
use super::fault::FaultRate;

/// The behaviour of the simulated AWS.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The wait before every response and before every injected fault.
    pub latency: Duration,
    /// The lifetime of registry tokens; AWS's last 12 hours.
    pub token_lifetime: Duration,
    /// The faults. Each call tries them in order, and the first that strikes decides the call.
    pub faults: Vec<FaultRate>,
    /// The answers that break assumptions of the broker.
    pub answers: Vec<Answer>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            token_lifetime: Duration::from_hours(12),
            faults: Vec::new(),
            answers: Vec::new(),
        }
    }
}
