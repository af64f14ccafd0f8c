//! The state of one Secret: when to look at it again, and its problem.

use std::time::Duration;

use super::memory::Memory;
use super::reconcile::Outcome;
use crate::cli::sync::target::Problem;
use crate::jitter;
use crate::kubernetes::{ApiError, Scope, SecretName};
use crate::moment::Moment;

/// Upper end of the backoff after failures of a Secret or of the API server; its start is a second.
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The state of a Secret.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) due: Moment,
    pub(super) problem: Option<Problem>,
    /// Whether the namespace has lost its label: the Secret is emptied, and then forgotten.
    pub(super) is_leaving: bool,
    pub(super) memory: Memory,
    backoff: Backoff,
}

impl Slot {
    pub(super) fn new(now: Moment) -> Self {
        Self { due: now, problem: None, is_leaving: false, memory: Memory::default(), backoff: Backoff::default() }
    }

    /// Returns whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.backoff.is_running()
    }

    pub(super) fn settled(&mut self, problem: Option<Problem>, due: Moment) {
        self.backoff = Backoff::default();
        self.problem = problem;
        self.due = due;
    }

    pub(super) fn failed(&mut self, name: &SecretName, error: &ApiError, now: Moment) {
        self.problem = Some(failure(name, error));
        self.due = now.after(self.backoff.next(error.retry_after));
    }
}

/// Returns the lines about a Secret that keeps its credential although its namespace has lost the label.
pub(super) fn left_behind(name: &SecretName, result: Result<Outcome, ApiError>) -> Vec<String> {
    let problem = match result {
        Ok(Outcome::Fresh(..)) => return Vec::new(),
        Err(error) if error.scope == Scope::Missing => return Vec::new(),
        Ok(Outcome::Kept(problem)) => problem,
        Err(error) => failure(name, &error),
    };
    let text = "the namespace lost its label, but the Secret keeps its credential; delete the Secret";
    vec![problem.text, format!("{name}: {text}")]
}

/// Returns a failure with its fix.
pub(super) fn failure(name: &SecretName, error: &ApiError) -> Problem {
    let message = error.to_string();
    // RBAC's own words. Quotas and admission are forbidden too.
    let fix = match message.split_once(" cannot ") {
        Some((_, rest)) if rest.starts_with("delete ") => "; grant delete of Secrets",
        Some(_) => "; grant get, create and patch of Secrets",
        None => "",
    };
    Problem { subject: name.to_string(), text: format!("{name}: {message}{fix}"), exit: error.exit }
}

/// Jittered exponential backoff.
#[derive(Debug, Default)]
pub(super) struct Backoff(Duration);

impl Backoff {
    fn is_running(&self) -> bool {
        !self.0.is_zero()
    }

    /// Returns the next delay, at least the one that the API server asks for.
    pub(super) fn next(&mut self, at_least: Option<Duration>) -> Duration {
        self.0 = (self.0 * 2).clamp(FIRST_BACKOFF, LONGEST_BACKOFF);
        jitter::around(self.0).max(at_least.unwrap_or_default())
    }
}
