//! The handle by which tests watch the simulated AWS and change its ways.

use std::sync::Arc;
use std::time::Duration;

use super::FaultRate;
use super::simulated_aws::{Service, SimulatedAws};
use crate::clock::Clock;

/// Counts the calls of a [`Simulator`](super::Simulator) and changes its behaviour while it runs.
///
/// A call counts once it is known to be signed for its service, before its latency and its fault: calls that wait, hang or
/// fail count too. Changes hold for the calls that come after them.
#[derive(Debug, Clone)]
pub struct Controls {
    world: Arc<SimulatedAws>,
}

impl Controls {
    pub(super) fn new(world: Arc<SimulatedAws>) -> Self {
        Self { world }
    }

    /// How often `GetAuthorizationToken` was called, of ECR and ECR Public together.
    #[must_use]
    pub fn calls(&self) -> u64 {
        *self.world.token_calls().borrow()
    }

    /// How often one service was called in one region.
    ///
    /// `AssumeRoleWithWebIdentity` is not signed and so names no region: such calls count for the empty one.
    #[must_use]
    pub fn calls_to(&self, service: Service, region: &str) -> u64 {
        self.world.calls_to(service, region)
    }

    /// Waits until [`calls`](Self::calls) is at least `calls`, so that no test need sleep or poll for it.
    pub async fn until_calls(&self, calls: u64) {
        // The error means that the sender is gone, which `self.world` holds.
        let _ = self.world.token_calls().wait_for(|made| *made >= calls).await;
    }

    /// The sessions of roles that were begun, the oldest first: the ARN of each, and its source identity.
    #[must_use]
    pub fn sessions(&self) -> Vec<(String, Option<String>)> {
        self.world.sessions().all().map(|session| (session.arn.clone(), session.source_identity.clone())).collect()
    }

    /// Replaces the faults; none at all makes it well again.
    pub fn set_faults(&self, faults: Vec<FaultRate>) {
        self.world.settings().faults = faults;
    }

    /// Sets how long every call waits.
    pub fn set_latency(&self, latency: Duration) {
        self.world.settings().latency = latency;
    }

    /// Sets how long the tokens made from now on are good for.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.world.settings().token_lifetime = lifetime;
    }

    /// Gives expiry times by this clock instead of the machine's.
    pub fn set_clock(&self, clock: Arc<dyn Clock>) {
        self.world.set_clock(clock);
    }
}
