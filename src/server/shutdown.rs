//! Graceful shutdown: drain, then force, then abort.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

/// Time to write the errors of requests that the end of the drain interrupted.
pub(crate) const FINAL_FLUSH: Duration = Duration::from_secs(1);

/// The stages of a shutdown, each entered once and in this order. A clone is a handle of the same stages.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShutdownStages {
    /// Listeners close, connections take no new request, and endless streams end.
    pub(crate) drain: CancellationToken,
    /// Requests still in flight are answered with an error.
    pub(crate) force_shutdown: CancellationToken,
    /// Connections still open are closed.
    pub(super) abort: CancellationToken,
}

impl ShutdownStages {
    /// Lets requests in flight finish until `timeout`, forces the rest, and returns when every connection has ended. The drain must have
    /// started, and the listeners must have closed.
    pub(super) async fn run(&self, connections: &TaskTracker, timeout: Duration) {
        connections.close();
        if connections.is_empty() {
            return;
        }
        if ended(connections, timeout).await {
            return;
        }
        warn!(connections = connections.len(), "drain timed out; forcing the shutdown");
        self.force_shutdown.cancel();
        if !ended(connections, FINAL_FLUSH).await {
            self.abort.cancel();
            connections.wait().await;
        }
    }
}

async fn ended(connections: &TaskTracker, timeout: Duration) -> bool {
    tokio::time::timeout(timeout, connections.wait()).await.is_ok()
}
