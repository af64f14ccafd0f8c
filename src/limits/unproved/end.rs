//! The signals that end a connection.

use tokio_util::sync::CancellationToken;

/// The two ways to end a connection. A clone is a handle of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct End {
    /// Finishes its calls and takes no more.
    pub(super) retire: CancellationToken,
    /// Closes.
    pub(super) abort: CancellationToken,
}
