//! The handle by which tests observe and change the simulated AWS.

use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::fault::FaultRate;
use super::principal::Tag;
use super::service::Service;
use super::simulated_aws::SimulatedAws;
use crate::clock::Clock;

/// Counts the calls of a [`Simulator`](super::Simulator) and changes its behaviour while it runs.
///
/// A call counts once its signature is checked, before its latency and its fault. Calls that wait, hang or fail count too.
/// Changes apply to later calls.
#[derive(Debug, Clone)]
pub struct Controls {
    aws: Arc<SimulatedAws>,
}

impl Controls {
    pub(super) fn new(aws: Arc<SimulatedAws>) -> Self {
        Self { aws }
    }

    /// Returns the number of calls that make tokens, of ECR, ECR Public and AWS Sign-In together.
    #[must_use]
    pub fn calls(&self) -> u64 {
        *self.aws.token_calls().borrow()
    }

    /// Returns the number of calls to a service in a region.
    ///
    /// `AssumeRoleWithWebIdentity` is not signed and so names no region. Its calls count for the empty region.
    #[must_use]
    pub fn calls_to(&self, service: Service, region: &str) -> u64 {
        self.aws.calls_to(service, region)
    }

    /// Waits until [`calls`](Self::calls) is at least `calls`, so that tests need not poll.
    pub async fn until_calls(&self, calls: u64) {
        // An error would mean that the sender is gone, but `self.aws` keeps it.
        let _ = self.aws.token_calls().wait_for(|made| *made >= calls).await;
    }

    /// Returns the role sessions, oldest first: the ARN and the source identity of each.
    #[must_use]
    pub fn sessions(&self) -> Vec<(String, Option<String>)> {
        self.aws.sessions().all().map(|session| (session.arn.clone(), session.source_identity.clone())).collect()
    }

    /// Returns the session tags of the role sessions, oldest first: key, value, and whether later roles inherit it.
    #[must_use]
    pub fn session_tags(&self) -> Vec<Vec<(String, String, bool)>> {
        let tags =
            |tags: &[Tag]| tags.iter().map(|tag| (tag.key.clone(), tag.value.clone(), tag.is_transitive)).collect();
        self.aws.sessions().all().map(|session| tags(&session.tags)).collect()
    }

    /// Sets the roles, by their ARNs, whose trust policies do not allow `sts:TagSession`.
    pub fn refuse_tags(&self, roles: &[&str]) {
        *self.aws.untagged_roles() = roles.iter().map(ToString::to_string).collect();
    }

    /// Replaces the faults; an empty list injects none.
    pub fn set_faults(&self, faults: Vec<FaultRate>) {
        self.aws.settings().faults = faults;
    }

    /// Returns the names of the repositories, sorted.
    #[must_use]
    pub fn repositories(&self) -> Vec<String> {
        self.aws.repositories().names()
    }

    /// Replaces the answers that break assumptions of the broker; an empty list breaks none.
    pub fn set_answers(&self, answers: Vec<Answer>) {
        self.aws.settings().answers = answers;
    }

    /// Sets the latency of every call.
    pub fn set_latency(&self, latency: Duration) {
        self.aws.settings().latency = latency;
    }

    /// Sets the lifetime of new registry tokens.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.aws.settings().token_lifetime = lifetime;
    }

    /// Sets the clock of expiry times, instead of the machine's.
    pub fn set_clock(&self, clock: Arc<dyn Clock>) {
        self.aws.set_clock(clock);
    }
}
