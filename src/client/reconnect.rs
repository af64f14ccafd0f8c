//! Repeats calls over new connections. A broker that restarts, or that is at a connection limit, closes connections without an answer.

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::Client;
use super::backoff::Backoff;
use super::connection::Connection;
use super::dialer::Persistence;
use super::failure::Failure;

impl<'a> Client<'a> {
    /// Runs a call, and repeats it over a new connection while connections are lost and time remains.
    ///
    /// The first repetition comes at once: most connections are lost at their maximum age. Later ones back off.
    pub(super) async fn call<T, F>(&mut self, call: impl Fn(Connection<'a>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let (mut backoff, mut losses, start) = (Backoff::new(), 0_u32, Instant::now());
        loop {
            let failure = match call(self.connection.clone()).await {
                Err(failure) if failure.may_reconnect => failure,
                outcome => return outcome,
            };
            losses += 1;
            debug!(%failure, losses, "connection lost");
            let (deadline, delay) = (self.connection.deadline, backoff.delay());
            if losses > 1 && Instant::now() + delay >= deadline {
                return Err(failure.after_losses(losses, start.elapsed()));
            }
            if losses > 1 {
                sleep(delay).await;
            }
            self.connection = self.dialer.open(start, deadline, Persistence::UntilDeadline).await?;
        }
    }
}
