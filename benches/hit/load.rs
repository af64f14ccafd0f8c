//! A closed load: each stream sends its next call when it has the answer to the last one.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::client::{Client, Connection};

#[derive(Debug, clap::Args)]
pub(crate) struct Shape {
    /// Connections, which stay open.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Calls at a time on each connection.
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// A new connection for each call, one after another.
    #[arg(long)]
    one_shot: bool,
    /// Registries to ask for in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) registries: u64,
}

/// The calls of one round.
#[derive(Debug)]
struct Round {
    calls: usize,
    started: Cell<usize>,
    times: RefCell<Vec<Duration>>,
}

impl Shape {
    /// Runs a round for each line of the standard input, which has the number of its calls.
    pub(crate) async fn run(&self, client: Client) -> anyhow::Result<()> {
        let mut orders = orders();
        let open = if self.one_shot { 0 } else { self.connections };
        let mut connections = try_join_all((0..open).map(|_| client.connect())).await?;
        try_join_all(connections.iter_mut().map(Connection::settle)).await?;
        while let Some(line) = orders.recv().await {
            let calls = line.parse().context("load failed: a line is not a number of calls; write one a line")?;
            println!("{}", self.round(&client, &connections, calls).await?);
        }
        Ok(())
    }

    async fn round(
        &self,
        client: &Client,
        connections: &[Connection<'_>],
        calls: usize,
    ) -> anyhow::Result<serde_json::Value> {
        let round = Round { calls, started: Cell::new(0), times: RefCell::default() };
        let start = Instant::now();
        if self.one_shot {
            round.one_shots(client).await?;
        } else {
            let streams = connections.iter().flat_map(|connection| (0..self.streams).map(move |_| connection));
            try_join_all(streams.map(|connection| round.stream(connection))).await?;
        }
        Ok(round.result(start.elapsed()))
    }
}

impl Round {
    fn next(&self) -> Option<usize> {
        let number = self.started.get();
        (number < self.calls).then(|| self.started.replace(number + 1))
    }

    async fn stream(&self, connection: &Connection<'_>) -> anyhow::Result<()> {
        while let Some(number) = self.next() {
            let start = Instant::now();
            connection.call(number).await?;
            self.times.borrow_mut().push(start.elapsed());
        }
        Ok(())
    }

    async fn one_shots(&self, client: &Client) -> anyhow::Result<()> {
        while let Some(number) = self.next() {
            let start = Instant::now();
            let connection = client.connect().await?;
            connection.call(number).await?;
            connection.close().await?;
            self.times.borrow_mut().push(start.elapsed());
        }
        Ok(())
    }

    fn result(self, elapsed: Duration) -> serde_json::Value {
        let mut times = self.times.into_inner();
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).map_or(0.0, Duration::as_secs_f64);
        json!({ "calls": self.calls, "seconds": elapsed.as_secs_f64(), "p50": at(50), "p99": at(99) })
    }
}

/// Reads the standard input in a thread, so that connections are served meanwhile.
fn orders() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            // The load has failed if it does not take the line.
            _ = sender.send(line);
        }
    });
    receiver
}
