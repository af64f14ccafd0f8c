//! Evidence from a real account: checks what the broker assumes of AWS, with the operator's identity.
//!
//! Nothing is created without a sandbox. Its repositories are deleted at the end, also after errors and signals.

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

pub use self::kit::{Kit, Pause, Request};
pub use self::report::{Outcome, Verdict};
pub use self::sandbox::{Cleanup, PREFIX};

mod checks;
mod kit;
mod manual;
mod registry;
mod report;
mod sandbox;

/// Runs the checks until `stop`, and passes each outcome to `emit`. Then deletes what the checks created. The result is an error
/// if `emit` failed or the run was stopped.
pub async fn run(
    kit: &Kit,
    stop: CancellationToken,
    mut emit: impl FnMut(&Outcome) -> anyhow::Result<()>,
) -> (Cleanup, anyhow::Result<()>) {
    let result = tokio::select! {
        result = checks::run(kit, &mut emit) => result,
        () = stop.cancelled() => Err(anyhow!("stopped by a signal; the other checks did not run")),
    };
    (kit.clean_up().await, result)
}
