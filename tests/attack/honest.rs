//! Honest callers beside an attack.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tonic::transport::Endpoint;

use crate::support::{Client, HOST, request};

/// Calls over one connection before the caller makes a new one.
const CALLS_PER_CONNECTION: u32 = 10;
/// Pause between two calls.
const PAUSE: Duration = Duration::from_millis(5);

/// A caller on its own thread, so that a busy attacker does not delay it. It does not repeat calls: a lost one ends it.
pub struct Honest {
    name: &'static str,
    stop: Arc<AtomicBool>,
    answered: watch::Receiver<u32>,
    thread: JoinHandle<Duration>,
}

/// What an honest caller had.
#[derive(Debug)]
pub struct Report {
    pub name: &'static str,
    pub calls: u32,
    pub slowest: Duration,
}

impl Honest {
    pub fn start(name: &'static str, endpoint: Endpoint) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (count, answered) = watch::channel(0);
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(call_until(name, endpoint, &stopping, &count))
        });
        Self { name, stop, answered, thread }
    }

    /// Waits until this many more calls are answered, or one is lost.
    pub async fn more_calls(&self, calls: u32) {
        let (mut answered, before) = (self.answered.clone(), *self.answered.borrow());
        _ = answered.wait_for(|answered| *answered >= before + calls).await;
    }

    /// Stops the caller. Fails if one of its calls was lost.
    pub fn end(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let slowest = self.thread.join().unwrap_or_else(|_| panic!("a call over {} was lost", self.name));
        Report { name: self.name, calls: *self.answered.borrow(), slowest }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} calls, none lost, the slowest {:.0?}", self.name, self.calls, self.slowest)
    }
}

/// Returns the longest duration of a call, with its connection if that is new.
async fn call_until(name: &str, endpoint: Endpoint, stop: &AtomicBool, answered: &watch::Sender<u32>) -> Duration {
    let mut slowest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let mut began = Instant::now();
        let channel = endpoint.connect().await.unwrap_or_else(|error| panic!("{name}: not connected: {error:?}"));
        let mut client = Client::new(channel);
        for _ in 0..CALLS_PER_CONNECTION {
            let answer = client.get_registry_credentials(request(HOST)).await;
            answer.unwrap_or_else(|status| panic!("{name}: {status:?}"));
            slowest = slowest.max(began.elapsed());
            answered.send_modify(|calls| *calls += 1);
            sleep(PAUSE).await;
            began = Instant::now();
        }
    }
    slowest
}
