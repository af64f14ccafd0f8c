//! Budget of calls to STS. Sessions of single callers are unbounded in number, and STS's quota is shared by the whole account.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::rate::Rate;

/// Burst after a quiet time, in seconds of the budget.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// The budget of all role sessions of the broker.
#[derive(Debug)]
pub(super) struct StsBudget {
    rate: Rate,
    clock: Arc<dyn Clock>,
}

/// The error for a call beyond the budget, which was not made.
#[derive(Debug, thiserror::Error)]
#[error("the budget of STS calls is used up; raise aws.sts_calls_per_second, or use fewer sessions")]
pub(super) struct BudgetSpent {
    /// Time until the budget has a call again.
    pub(super) retry_after: Duration,
}

impl StsBudget {
    pub(super) fn new(per_second: NonZeroU32, clock: Arc<dyn Clock>) -> Self {
        Self { rate: Rate::with_burst(per_second, BURST_SECONDS), clock }
    }

    /// Takes a call.
    ///
    /// # Errors
    /// The budget is used up.
    pub(super) fn take(&self) -> Result<(), BudgetSpent> {
        let admitted = self.rate.admit(NonZeroU32::MIN, self.clock.now().steady);
        admitted.map_err(|retry_after| BudgetSpent { retry_after })
    }
}
