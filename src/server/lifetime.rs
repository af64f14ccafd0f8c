//! The lifetime of one connection, as its protocol sees it.

use std::pin::Pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::shutdown::ShutdownStages;
use crate::jitter;

/// Tells a protocol when its connection must end.
#[derive(Debug, Clone)]
pub(crate) struct Lifetime {
    max_age: Duration,
    shutdown: ShutdownStages,
}

impl Lifetime {
    pub(super) fn new(max_age: Duration, shutdown: ShutdownStages) -> Self {
        Self { max_age, shutdown }
    }

    /// Completes when the drain starts. A connection that is not established by then can be closed: it has no request.
    pub(super) async fn draining(&self) {
        self.shutdown.drain.cancelled().await;
    }

    /// Cancelled when requests still in flight must be answered with an error.
    pub(super) fn force_shutdown(&self) -> &CancellationToken {
        &self.shutdown.force_shutdown
    }

    /// Drives an established connection to its end. At its maximum age, or when the drain starts, `finish` tells it to complete its
    /// requests and to accept no new ones. The age counts from this call.
    pub(super) async fn run<C: Future>(
        &self,
        mut connection: Pin<&mut C>,
        finish: impl FnOnce(Pin<&mut C>),
    ) -> C::Output {
        let retired = async {
            tokio::select! {
                // Jitter, so that connections that were made together do not end together.
                () = tokio::time::sleep(jitter::around(self.max_age)) => {}
                () = self.draining() => {}
            }
        };
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = retired => {}
        }
        finish(connection.as_mut());
        connection.await
    }
}
