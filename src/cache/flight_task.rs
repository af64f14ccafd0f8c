//! A caller and the task that stands in for it: which of them may end the other.
//!
//! The task that makes a fetch belongs to nobody. One that merely waits for another's fetch is its caller's, and goes with it: the
//! departed would otherwise fill the places of those who wait, and one dead region would turn everybody away.

use std::sync::{Arc, OnceLock};

use tokio::task::JoinHandle;

/// What became of the task, decided once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It makes the fetch.
    Leads,
    /// Its caller left before that.
    Left,
}

/// The task's side.
#[derive(Debug, Clone, Default)]
pub(super) struct LeaderClaim(Arc<OnceLock<Fate>>);

/// The caller's side: a task, ended with this unless it leads.
#[derive(Debug)]
pub(super) struct FlightTask<T> {
    seat: LeaderClaim,
    task: JoinHandle<T>,
}

impl LeaderClaim {
    /// Takes the lead. False where the caller has left, and this task is about to be ended.
    pub(super) fn lead(&self) -> bool {
        self.0.set(Fate::Leads).is_ok()
    }
}

impl<T> FlightTask<T> {
    /// `task` must have been given `seat`.
    pub(super) fn new(seat: LeaderClaim, task: JoinHandle<T>) -> Self {
        Self { seat, task }
    }

    pub(super) async fn landed(&mut self) -> Result<T, tokio::task::JoinError> {
        (&mut self.task).await
    }
}

impl<T> Drop for FlightTask<T> {
    fn drop(&mut self) {
        if self.seat.0.set(Fate::Left).is_ok() {
            self.task.abort();
        }
    }
}
