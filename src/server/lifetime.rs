//! The lifetime of one connection, as its protocol sees it.

use std::pin::Pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::shutdown::ShutdownStages;
use crate::authn::Peer;
use crate::jitter;
use crate::limits::Unproved;

/// Tells a protocol when its connection must end.
#[derive(Debug, Clone)]
pub(crate) struct Lifetime {
    max_age: Duration,
    shutdown: ShutdownStages,
    unproved: Option<Unproved>,
}

impl Lifetime {
    pub(super) fn new(max_age: Duration, shutdown: ShutdownStages, unproved: Option<Unproved>) -> Self {
        Self { max_age, shutdown, unproved }
    }

    /// The limits of a connection that needs a proof of its peer.
    pub(super) fn unproved(&self) -> Option<&Unproved> {
        self.unproved.as_ref()
    }

    /// Returns the limits of a connection whose peer is known, as far as it can be known without a call; none if it has proved who it
    /// is.
    pub(super) fn unproved_of(&self, peer: &Peer) -> Option<Unproved> {
        let connection = self.unproved()?;
        if matches!(peer, Peer::Unknown(_)) {
            return Some(connection.clone());
        }
        connection.note_proved();
        None
    }

    /// Completes when the drain starts, or when an unproved connection must make room. A connection that is not established by then
    /// can be closed: it has no request.
    pub(super) async fn draining(&self) {
        tokio::select! {
            () = self.shutdown.drain.cancelled() => {}
            () = unless_proved(self.unproved(), Unproved::retired) => {}
        }
    }

    /// Completes when the drain starts.
    pub(super) async fn shutting_down(&self) {
        self.shutdown.drain.cancelled().await;
    }

    /// Completes when an established connection must complete its requests and accept no new ones: at its maximum age, or when the
    /// drain starts. The age counts from this call.
    pub(super) async fn retired(&self) {
        tokio::select! {
            // Jitter, so that connections that were made together do not end together.
            () = tokio::time::sleep(jitter::around(self.max_age)) => {}
            () = self.draining() => {}
        }
    }

    /// Completes when the connection must be aborted.
    pub(super) async fn aborted(&self) {
        self.shutdown.abort.cancelled().await;
    }

    /// Completes when an unproved connection must be closed. Boxed: most connections have no need of its room.
    pub(super) async fn expired(&self) {
        unless_proved(self.unproved(), |connection| Box::pin(connection.expired())).await;
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
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = self.retired() => {}
        }
        finish(connection.as_mut());
        connection.await
    }
}

/// Completes with `end` of an unproved connection; never for any other.
async fn unless_proved<'a, F: Future<Output = ()>>(
    unproved: Option<&'a Unproved>,
    end: impl FnOnce(&'a Unproved) -> F,
) {
    match unproved {
        Some(connection) => end(connection).await,
        None => std::future::pending().await,
    }
}
