//! Who answers for ECR registries on this host: the broker, or the fallback with the broker beside it.

use super::fallback::Fallback;
use super::setup::Setup;
use crate::adoption::is_canary;
use crate::client::adoption::{Mode, Protocol};

/// The mode of this host.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage<'a> {
    /// The broker answers; the fallback, if there is one, only after the configured failures.
    Full(Option<Fallback<'a>>),
    /// The broker answers; the fallback after any failure.
    Canary(Fallback<'a>),
    /// The fallback answers, and the broker is asked beside it.
    Shadow(Fallback<'a>),
}

impl<'a> Stage<'a> {
    /// Returns the stage of a protocol. One without a fallback is left to the broker: nothing else could answer.
    pub(super) fn of(setup: &'a Setup, protocol: Protocol) -> Self {
        match (setup.adoption.mode(), setup.fallback(protocol)) {
            (Mode::Canary, Some(fallback)) if is_canary(setup.adoption.canary_percent()) => Self::Canary(fallback),
            (Mode::Canary | Mode::Shadow, Some(fallback)) => Self::Shadow(fallback),
            (_, fallback) => Self::Full(fallback),
        }
    }
}
