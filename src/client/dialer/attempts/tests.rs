use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::time::{sleep, timeout};

use super::*;

type Attempt = Pin<Box<dyn Future<Output = Result<(), Problem>> + Send>>;

/// How an address behaves: the result of each attempt, by the time since the start.
type Behaviour = fn(Duration) -> Attempt;

/// Addresses with a scripted behaviour, and when each was tried.
struct Script {
    behaviours: HashMap<String, Behaviour>,
    start: Instant,
    tried: Arc<Mutex<Vec<(String, Duration)>>>,
}

impl Script {
    fn new(behaviours: &[(&str, Behaviour)]) -> Self {
        let behaviours = behaviours.iter().map(|(address, one)| ((*address).to_owned(), *one)).collect();
        Self { behaviours, start: Instant::now(), tried: Arc::default() }
    }

    fn connect(&self, address: &Address) -> Attempt {
        let since = self.start.elapsed();
        self.tried.lock().unwrap().push((address.to_string(), since));
        self.behaviours[&address.to_string()](since)
    }

    /// Returns the address that answers and the time that it took, or the failure.
    async fn dial(&self, addresses: &[&str], limit: Duration) -> Result<(String, Duration), String> {
        self.dial_as(addresses, true, limit).await
    }

    async fn dial_as(
        &self,
        addresses: &[&str],
        are_configured: bool,
        limit: Duration,
    ) -> Result<(String, Duration), String> {
        let addresses: Vec<Address> = addresses.iter().map(|one| one.parse().unwrap()).collect();
        let mut attempts = Attempts::new(&addresses, are_configured, |address: &Address| self.connect(address));
        let start = Instant::now();
        match timeout(limit, attempts.run(Persistence::UntilDeadline)).await {
            Ok(Some((address, ()))) => Ok((address.to_string(), start.elapsed())),
            Ok(None) | Err(_) => Err(attempts.failure(start.elapsed()).to_string()),
        }
    }

    fn tried(&self, address: &str) -> Vec<Duration> {
        let tried = self.tried.lock().unwrap();
        tried.iter().filter(|(one, _)| one == address).map(|(_, at)| *at).collect()
    }
}

fn problem(kind: std::io::ErrorKind) -> Problem {
    Problem::of(&std::io::Error::from(kind))
}

fn fails(kind: std::io::ErrorKind) -> Attempt {
    Box::pin(std::future::ready(Err(problem(kind))))
}

fn answers(_: Duration) -> Attempt {
    Box::pin(std::future::ready(Ok(())))
}

fn hangs(_: Duration) -> Attempt {
    Box::pin(std::future::pending())
}

fn missing(_: Duration) -> Attempt {
    fails(std::io::ErrorKind::NotFound)
}

fn refuses(_: Duration) -> Attempt {
    fails(std::io::ErrorKind::ConnectionRefused)
}

fn denies(_: Duration) -> Attempt {
    fails(std::io::ErrorKind::PermissionDenied)
}

const TWO_SECONDS: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(10);
const ONE: &str = "http://one:1";
const TWO: &str = "http://two:1";
const LOOPBACK: &str = "http://127.0.0.1:50051";

fn path_of(directory: &Path) -> String {
    format!("unix:{}", directory.join("broker.sock").display())
}

#[tokio::test(start_paused = true)]
async fn broker_that_appears_two_seconds_later_is_found_soon_after() {
    let behaviours: [Behaviour; 2] = [
        |since| if since < TWO_SECONDS { missing(since) } else { answers(since) },
        |since| if since < TWO_SECONDS { refuses(since) } else { answers(since) },
    ];
    for late in behaviours {
        let (_, took) = Script::new(&[(ONE, late)]).dial(&[ONE], LIMIT).await.unwrap();
        assert!((TWO_SECONDS..TWO_SECONDS + Duration::from_millis(410)).contains(&took), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn restart_of_a_tenth_of_a_second_costs_little_more() {
    let restarting = |since| if since < Duration::from_millis(100) { refuses(since) } else { answers(since) };
    let script = Script::new(&[(ONE, restarting)]);
    let (_, took) = script.dial(&[ONE], LIMIT).await.unwrap();
    // The last attempt that fails comes within 100 ms, and the delay after it is at most 160 ms. Timers round up to milliseconds.
    assert!(took < Duration::from_millis(265), "{took:?}");
    assert!(script.tried(ONE)[1] <= Duration::from_millis(41), "the first retry comes within tens of milliseconds");
}

#[tokio::test(start_paused = true)]
async fn errors_that_may_pass_are_retried_until_the_limit() {
    use std::io::ErrorKind as Kind;
    let behaviours: [Behaviour; 5] = [
        |_| fails(Kind::WouldBlock),
        |_| fails(Kind::ConnectionReset),
        |_| fails(Kind::UnexpectedEof),
        |_| fails(Kind::TimedOut),
        |_| fails(Kind::Other),
    ];
    for behaviour in behaviours {
        let script = Script::new(&[(ONE, behaviour)]);
        let failure = script.dial(&[ONE], Duration::from_secs(3)).await.unwrap_err();
        assert!(failure.starts_with("no broker answers at http://one:1 within 3.0 s: "), "{failure}");
        let tries = script.tried(ONE).len();
        assert!((9..=20).contains(&tries), "{tries} attempts");
    }
}

#[tokio::test(start_paused = true)]
async fn permanent_error_ends_the_wait_at_once() {
    let script = Script::new(&[(ONE, |_| fails(std::io::ErrorKind::InvalidData))]);
    let start = Instant::now();
    let failure = script.dial(&[ONE], LIMIT).await.unwrap_err();
    assert!(failure.starts_with("no broker answers at http://one:1: invalid data"), "{failure}");
    let denied = Script::new(&[("unix:/s", denies)]).dial(&["unix:/s"], LIMIT).await.unwrap_err();
    assert!(denied.starts_with("unix:/s: permission denied; ask the operator"), "{denied}");
    assert_eq!((start.elapsed(), script.tried(ONE).len()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn permanent_error_of_one_address_leaves_the_other_its_time() {
    let late: Behaviour = |since| if since < TWO_SECONDS { refuses(since) } else { answers(since) };
    let script = Script::new(&[(ONE, |_| fails(std::io::ErrorKind::InvalidData)), (TWO, late)]);
    assert_eq!(script.dial(&[ONE, TWO], LIMIT).await.unwrap().0, TWO);
    assert_eq!(script.tried(ONE).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn slow_connection_is_waited_for_until_the_limit() {
    let slow: Behaviour = |_| {
        Box::pin(async {
            sleep(Duration::from_millis(2_700)).await;
            Ok(())
        })
    };
    let script = Script::new(&[(ONE, slow)]);
    let (_, took) = script.dial(&[ONE], Duration::from_secs(3)).await.unwrap();
    assert_eq!((took.as_millis(), script.tried(ONE).len()), (2_700, 1));
}

#[tokio::test(start_paused = true)]
async fn silent_address_costs_the_next_one_a_second() {
    let script = Script::new(&[(ONE, hangs), (TWO, answers)]);
    let (address, took) = script.dial(&[ONE, TWO], LIMIT).await.unwrap();
    assert_eq!((address.as_str(), took.as_millis()), (TWO, 1_000));
}

#[tokio::test(start_paused = true)]
async fn silent_address_does_not_delay_the_retries_of_another() {
    let late: Behaviour = |since| if since < TWO_SECONDS { refuses(since) } else { answers(since) };
    let script = Script::new(&[(ONE, hangs), (TWO, late)]);
    let (address, took) = script.dial(&[ONE, TWO], LIMIT).await.unwrap();
    assert!(address == TWO && took < TWO_SECONDS + Duration::from_millis(410), "{took:?}");
    assert_eq!(script.tried(ONE).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn single_round_tries_each_address_once() {
    let script = Script::new(&[(ONE, refuses), (TWO, refuses)]);
    let addresses = [ONE, TWO].map(|one| one.parse().unwrap());
    let mut attempts = Attempts::new(&addresses, true, |address: &Address| script.connect(address));
    assert!(attempts.run(Persistence::Once).await.is_none());
    assert_eq!((script.tried(ONE).len(), script.tried(TWO).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn default_loopback_is_used_while_the_default_socket_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let (present, absent) = (path_of(directory.path()), path_of(&directory.path().join("none")));
    let script = Script::new(&[(&present, missing), (&absent, missing), (LOOPBACK, answers)]);
    let (address, took) = script.dial_as(&[&absent, &present, LOOPBACK], false, LIMIT).await.unwrap();
    assert_eq!((address.as_str(), took), (LOOPBACK, Duration::ZERO));
    assert!(script.tried(&absent).is_empty(), "a default socket without its directory is never there");
    assert_eq!(script.tried(&present).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn default_loopback_is_never_used_after_a_default_socket_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_of(directory.path());
    // The broker removes its socket while it stops.
    let stopping: Behaviour = |since| if since.is_zero() { refuses(since) } else { missing(since) };
    for behaviour in [stopping, denies, |_| fails(std::io::ErrorKind::WouldBlock)] as [Behaviour; 3] {
        let script = Script::new(&[(&socket, behaviour), (LOOPBACK, answers)]);
        let failure = script.dial_as(&[&socket, LOOPBACK], false, LIMIT).await.unwrap_err();
        assert!(failure.contains(&socket) && !failure.contains(LOOPBACK), "{failure}");
        assert!(script.tried(LOOPBACK).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn missing_default_socket_in_an_existing_directory_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_of(directory.path());
    let late: Behaviour = |since| if since < TWO_SECONDS { missing(since) } else { answers(since) };
    let script = Script::new(&[(&socket, late), (LOOPBACK, refuses)]);
    let (address, took) = script.dial_as(&[&socket, LOOPBACK], false, LIMIT).await.unwrap();
    assert!(address == socket && took < TWO_SECONDS + Duration::from_millis(410), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn default_socket_without_permission_ends_the_wait_at_once() {
    let (system, user) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let denied = path_of(system.path());
    for other in [path_of(user.path()), path_of(&user.path().join("none"))] {
        let script = Script::new(&[(&denied, denies), (&other, missing), (LOOPBACK, answers)]);
        let start = Instant::now();
        let failure = script.dial_as(&[&denied, &other, LOOPBACK], false, LIMIT).await.unwrap_err();
        assert!(failure.starts_with(&denied) && failure.contains("permission denied; ask"), "{failure}");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
