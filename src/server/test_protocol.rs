//! A protocol for tests: echoes every byte.

use std::pin::pin;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::lifetime::Lifetime;
use super::listener::Accepted;
use super::protocol::Protocol;
use crate::limits::Origin;

/// Echoes bytes until its lifetime ends. A stubborn echo ignores that, and ends when the peer disconnects.
#[derive(Debug)]
pub(super) struct Echo {
    pub(super) stubborn: bool,
}

impl Protocol for Echo {
    fn scheme(&self) -> &'static str {
        "echo"
    }

    fn loop_fix(&self) -> &'static str {
        "do not"
    }

    fn serve<'a>(&'a self, stream: Accepted, _: Origin, lifetime: &'a Lifetime) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Accepted::Tcp(mut stream, _) = stream else { return };
            let (mut from, mut to) = stream.split();
            let finished = CancellationToken::new();
            let finish = |_: std::pin::Pin<&mut _>| {
                if !self.stubborn {
                    finished.cancel();
                }
            };
            let connection = pin!(async {
                tokio::select! {
                    _ = tokio::io::copy(&mut from, &mut to) => {}
                    () = finished.cancelled() => {}
                }
            });
            lifetime.run(connection, finish).await;
        })
    }
}
