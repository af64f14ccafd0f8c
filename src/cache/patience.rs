//! Patience of a caller: when it leaves before its flight has landed, and with which error (P2).

use tokio::time::sleep_until;

use super::lookup::Lookup;
use crate::error::BrokerError;
use crate::source::FetchProgress;

/// Waits until the caller should leave. Without a deadline it never should.
///
/// A fetch that starts too late for the caller ends its wait at once. At `answer_by` the wait ends with its cause: the queue, or the
/// failure after which the source is called again. While no cause is known, the caller waits on, and its deadline ends the wait.
/// The fetch continues in each case.
pub(super) async fn reason_to_leave(lookup: &Lookup, progress: &FetchProgress) -> BrokerError {
    let Some(answer_by) = lookup.answer_by else { return std::future::pending().await };
    let requester = lookup.requester();
    tokio::select! {
        error = progress.starts_after(requester.as_ref(), answer_by) => error,
        () = sleep_until(answer_by) => progress.cause().await,
    }
}
