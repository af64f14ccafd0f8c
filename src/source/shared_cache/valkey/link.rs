//! Link: one connection to a server, over which many operations are in flight.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{AsyncStream, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, Value};
use tokio::time::timeout;

use super::fault::{Fault, FaultClass};
use super::gate::{Counts, Gate};
use super::scripts::Call;

/// A connection. A clone is another handle of the same.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    counts: Arc<Counts>,
}

/// The work of a connection: reading and writing. It ends when the server closes the connection; dropping it closes the connection.
pub(super) struct Driver(Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    /// Opens a link over a stream. Sends nothing.
    pub(super) async fn open<S>(stream: S) -> Result<(Self, Driver), Fault>
    where
        S: AsyncStream + Send + Unpin + 'static,
    {
        let counts = Arc::new(Counts::default());
        let stream = Gate::new(stream, Arc::clone(&counts));
        // Without credentials and the library's name, the crate sends no command.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        Ok((Self { connection, counts }, Driver(Box::pin(driver))))
    }

    /// Sends a command and returns its answer.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, Fault> {
        self.counts.ask();
        let answer = self.connection.clone().send_packed_command(command).await;
        Ok(answer.and_then(Value::extract_error)?)
    }

    /// Runs a script by its hash, and once more by its text if the server does not have it. `asking`: in a slot that is being moved.
    pub(super) async fn call(&self, call: &Call<'_>, asking: bool) -> Result<Value, Fault> {
        match self.run(call.by_hash(), asking).await {
            Err(Fault::NoScript) => self.run(call.by_text(), asking).await,
            answer => answer,
        }
    }

    async fn run(&self, command: Cmd, asking: bool) -> Result<Value, Fault> {
        if !asking {
            return self.command(&command).await;
        }
        let mut both = Pipeline::new();
        both.cmd("ASKING").add_command(command);
        self.counts.ask();
        self.counts.ask();
        let mut answers = self.connection.clone().send_packed_commands(&both, 0, 2).await?;
        let answer = answers.pop().ok_or(FaultClass::Invalid)?;
        Ok(answer.extract_error()?)
    }

    /// Returns whether the server sent something else than answers.
    pub(super) fn has_refused(&self) -> bool {
        self.counts.has_refused()
    }
}

impl Driver {
    /// Waits until the connection ends.
    pub(super) async fn ended(&mut self) {
        (&mut self.0).await;
    }

    /// Drives the connection of `link` while `work` uses it, for at most `limit`.
    pub(super) async fn drive<T>(
        &mut self,
        link: &Link,
        limit: Duration,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let worked = tokio::select! {
            biased;
            () = &mut self.0 => Err(FaultClass::Unreachable.into()),
            worked = timeout(limit, work) => worked.unwrap_or(Err(FaultClass::Timeout.into())),
        };
        if worked.is_err() && link.has_refused() { Err(FaultClass::Invalid.into()) } else { worked }
    }
}
