//! Retry budget: at most one retry for ten calls, with a small reserve. When every call fails, retries only add to AWS's load.

use std::sync::Mutex;

use crate::sync::lock;

/// Maximum balance, and the balance at the start.
const MAX_BALANCE: f64 = 10.0;
/// Deposit of each call, in retries.
const DEPOSIT: f64 = 0.1;

/// Balance of retries that may be made.
#[derive(Debug)]
pub(super) struct RetryBudget(Mutex<f64>);

impl RetryBudget {
    pub(super) fn new() -> Self {
        Self(Mutex::new(MAX_BALANCE))
    }

    /// Adds the deposit of one call.
    pub(super) fn deposit(&self) {
        let mut balance = lock(&self.0);
        *balance = (*balance + DEPOSIT).min(MAX_BALANCE);
    }

    /// Returns the whole retries that are left.
    pub(super) fn retries_left(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to MAX_BALANCE")]
        let whole = *lock(&self.0) as u32;
        whole
    }

    /// Takes one retry. Returns `false` if the budget is empty.
    pub(super) fn withdraw(&self) -> bool {
        let mut balance = lock(&self.0);
        let covered = *balance >= 1.0;
        if covered {
            *balance -= 1.0;
        }
        covered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_budget_is_ten_at_first_and_then_one_for_ten_calls() {
        let budget = RetryBudget::new();
        let retries = (0..1_000).filter(|_| {
            budget.deposit();
            budget.withdraw()
        });
        assert!((100..=110).contains(&retries.count()));
    }

    #[test]
    fn retry_budget_does_not_grow_in_good_times() {
        let budget = RetryBudget::new();
        (0..1_000).for_each(|_| budget.deposit());
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10);
    }
}
