//! Survival of the real program: kills, a full file table, tenfold overload, and long runs.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a test may"
)]

mod program;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use program::{PROGRAM, SERVE_SIMULATED, Server, signal, simulated_broker};
use support::{Client, HOST, host, request};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

async fn channel(address: &str) -> Result<Channel, tonic::transport::Error> {
    let uri = address.replace("unix:", "unix://").replace("grpc://", "http://");
    Endpoint::from_shared(uri).unwrap().connect().await
}

/// Calls as fast as possible, over a new connection whenever the old one is gone.
async fn hammer(address: String, stop: Arc<AtomicBool>, served: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(channel) = channel(&address).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut client = Client::new(channel);
        while !stop.load(Ordering::Relaxed) && client.get_registry_credentials(request(HOST)).await.is_ok() {
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The next broker gets the socket at once, no temporary file is left, and the audit log is complete.
#[tokio::test(flavor = "multi_thread")]
async fn p11_fifty_kills_under_load_leave_no_trace_but_the_audit_log() {
    const KILLS: u32 = 50;
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("b.sock").display());
    let audit = directory.path().join("audit.log");
    let environment = [("ECR_BROKER_AUDIT_OUTPUT", audit.to_str().unwrap())];
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers = (0..8).map(|_| tokio::spawn(hammer(socket.clone(), Arc::clone(&stop), Arc::clone(&served))));
    let callers: Vec<_> = callers.collect();
    let mut random = fastrand::Rng::with_seed(1);
    let mut slowest = Duration::ZERO;
    for kill in 0..KILLS {
        let began = Instant::now();
        let broker = Server::start(&["serve", "--simulate", "--listen", &socket], &environment);
        let client = Client::new(channel(&socket).await.unwrap()).get_registry_credentials(request(HOST)).await;
        client.unwrap_or_else(|status| panic!("after kill {kill}: {status}"));
        slowest = slowest.max(began.elapsed());
        sleep(Duration::from_millis(random.u64(0..100))).await;
        signal(broker.pid(), "KILL");
        drop(broker);
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let served = served.load(Ordering::Relaxed);
    let log = fs::read_to_string(&audit).unwrap();
    let records: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let released = records.len() as u64;
    println!(
        "{KILLS} kills, {served} calls served between them, {released} audit records, restarted within {slowest:.0?}"
    );
    // A kill between record and answer leaves a record without an answer, never the reverse.
    assert!(log.ends_with('\n') && released >= served + u64::from(KILLS), "{released} records, {served} served");
    let mut left: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["audit.log", "b.sock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_file_table_causes_no_busy_loop_and_the_broker_recovers() {
    let mut command = Command::new("prlimit");
    command.args(["--nofile=64:64", PROGRAM]).args(SERVE_SIMULATED).env("RUST_LOG", "error");
    let broker = Server::spawn_logging(command);
    let mut honest = Client::new(channel(&broker.address).await.unwrap());
    honest.get_registry_credentials(request(HOST)).await.unwrap();
    let address = broker.address.strip_prefix("grpc://").unwrap();
    let mut connections = Vec::new();
    for _ in 0..200 {
        connections.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let (began, before) = (Instant::now(), broker.cpu_seconds());
    let mut calls = 0;
    while began.elapsed() < Duration::from_secs(3) {
        // The connected client is served from the cache.
        honest.get_registry_credentials(request(HOST)).await.unwrap();
        calls += 1;
        sleep(Duration::from_millis(50)).await;
    }
    let spent = (broker.cpu_seconds() - before) / began.elapsed().as_secs_f64();
    drop(connections);
    let recovered = Instant::now();
    let fresh = timeout(Duration::from_secs(10), async {
        Client::new(channel(&broker.address).await.unwrap()).get_registry_credentials(request(&host(7))).await
    });
    fresh.await.expect("in time").unwrap();
    println!(
        "full: {spent:.2} CPU seconds a second and {calls} calls of an old connection served; a new one {:.1?} after",
        recovered.elapsed()
    );
    assert!(spent < 0.3, "{spent}");
    broker.stop();
}

/// The calls by outcome.
type Tally = Arc<std::sync::Mutex<BTreeMap<String, u64>>>;

async fn tallied(mut client: Client, number: u64, tally: Tally) {
    let answer =
        client.get_registry_credentials(request(&format!("{number:012}.dkr.ecr.eu-central-1.amazonaws.com"))).await;
    let reason = answer.map_or_else(
        |status| {
            status.get_error_details().error_info().map_or_else(|| format!("{status}"), |info| info.reason.clone())
        },
        |_| "served".to_owned(),
    );
    *tally.lock().unwrap().entry(reason).or_default() += 1;
}

fn served(tally: &Tally) -> u64 {
    tally.lock().unwrap().get("served").copied().unwrap_or_default()
}

/// Every call requests a new registry in one region, and AWS takes 200 ms. Eight calls in flight make 40 a second, so that a debug
/// build and the load tool can handle ten times as many calls on two cores. Each is made at its time, whether or not earlier ones
/// were answered.
async fn overload(time: Duration) {
    // One caller may queue an eighth: 640 calls, which take 16 s, well within the longest duration of a call.
    const QUEUE: [(&str, &str); 2] =
        [("ECR_BROKER_CACHE_MAX_WAITERS", "5120"), ("ECR_BROKER_LIMITS_IN_FLIGHT", "5000")];
    let environment = [("RUST_LOG", "error"), ("ECR_BROKER_AWS_MAX_IN_FLIGHT_PER_REGION", "8"), QUEUE[0], QUEUE[1]];
    let broker = simulated_broker(&["--simulate-latency", "200ms"], &environment);
    let client = Client::new(channel(&broker.address).await.unwrap());
    let numbers = Arc::new(AtomicU64::new(0));

    let (peak, unloaded) = (Tally::default(), tokio::spawn(health(broker.address.clone(), time)));
    let began = Instant::now();
    let workers = (0..16).map(|_| {
        let (client, peak, numbers) = (client.clone(), Arc::clone(&peak), Arc::clone(&numbers));
        tokio::spawn(async move {
            while began.elapsed() < time {
                tallied(client.clone(), numbers.fetch_add(1, Ordering::Relaxed), Arc::clone(&peak)).await;
            }
        })
    });
    join_all(workers).await;
    let peak = served(&peak) as f64 / began.elapsed().as_secs_f64();
    let (unloaded, _) = unloaded.await.unwrap();
    let unloaded = percentile_99(unloaded);

    let before = broker.memory_mb();
    let (tally, health) = (Tally::default(), tokio::spawn(health(broker.address.clone(), time)));
    let began = Instant::now();
    let mut tick = interval(Duration::from_secs_f64(1.0 / (10.0 * peak)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let connections = join_all((0..20).map(|_| async { Client::new(channel(&broker.address).await.unwrap()) })).await;
    let mut calls = Vec::new();
    while began.elapsed() < time {
        tick.tick().await;
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let client = connections[number as usize % connections.len()].clone();
        calls.push(tokio::spawn(tallied(client, number, Arc::clone(&tally))));
    }
    let offered = calls.len() as f64 / began.elapsed().as_secs_f64();
    let goodput = served(&tally) as f64 / began.elapsed().as_secs_f64();
    let (waits, hits) = health.await.unwrap();
    let grown = broker.memory_mb().saturating_sub(before);
    join_all(calls).await;
    let (answered, slowest) = (waits.len(), percentile_99(waits));
    println!(
        "{offered:.0} calls a second over a peak of {peak:.0}: {goodput:.0} served a second; health answered {answered} times, \
         99 % within {slowest:.1?} ({unloaded:.1?} at the peak), a cached credential {hits} times; {grown} MB more; {:?}",
        tally.lock().unwrap(),
    );
    assert!(offered > 9.0 * peak && goodput >= 0.9 * peak, "{goodput} of {peak}");
    // A slow machine delays both.
    assert!(slowest < Duration::from_millis(50).max(2 * unloaded), "{slowest:?}, {unloaded:?} at the peak");
    assert!(grown < 128, "{grown} MB");
    let reasons: Vec<_> = tally.lock().unwrap().keys().cloned().collect();
    assert_eq!(reasons, ["OVERLOADED", "served"]);
    broker.stop();
}

/// As many callers as `registries` request an uncached registry of one region each, at once.
async fn cold_burst(registries: u64, latency: &str) {
    let broker = simulated_broker(&["--simulate-latency", latency], &[("RUST_LOG", "error")]);
    let clients = join_all((0..20).map(|_| async { Client::new(channel(&broker.address).await.unwrap()) })).await;
    let (tally, began) = (Tally::default(), Instant::now());
    let calls = (0..registries).map(|number| {
        let client = clients[number as usize % clients.len()].clone();
        tokio::spawn(tallied(client, number, Arc::clone(&tally)))
    });
    join_all(calls).await;
    println!("{registries} cold registries at {latency}: {:?} after {:.1?}", tally.lock().unwrap(), began.elapsed());
    assert_eq!(*tally.lock().unwrap(), BTreeMap::from([("served".to_owned(), registries)]));
    broker.stop();
}

/// With eight calls in flight, 200 calls of 2 s would take 50 s, and the broker's limit of a request is 30 s.
#[tokio::test(flavor = "multi_thread")]
async fn p7_burst_of_cold_registries_is_served_without_an_error() {
    cold_burst(200, "2s").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an optimised build: cargo test --release --test survival -- --ignored p7"]
async fn p7_thousand_cold_registries_are_served_without_an_error() {
    cold_burst(1_000, "100ms").await;
}

fn percentile_99(mut waits: Vec<Duration>) -> Duration {
    waits.sort();
    waits[waits.len() * 99 / 100]
}

/// Calls health and reads a cached credential, which overload must not delay. Returns the latency of each health check.
async fn health(address: String, time: Duration) -> (Vec<Duration>, u64) {
    let channel = channel(&address).await.unwrap();
    let (mut health, mut client) = (HealthClient::new(channel.clone()), Client::new(channel));
    client.get_registry_credentials(request("public.ecr.aws")).await.unwrap();
    let (began, mut waits, mut hits) = (Instant::now(), Vec::new(), 0);
    while began.elapsed() < time {
        let asked = Instant::now();
        health.check(HealthCheckRequest::default()).await.unwrap();
        waits.push(asked.elapsed());
        client.get_registry_credentials(request("public.ecr.aws")).await.unwrap();
        hits += 1;
        sleep(Duration::from_millis(20)).await;
    }
    (waits, hits)
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_tenfold_overload_keeps_nine_tenths_of_the_throughput() {
    overload(Duration::from_secs(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes: cargo test --release --test survival -- --ignored p8"]
async fn p8_tenfold_overload_for_a_minute() {
    overload(Duration::from_mins(1)).await;
}

/// Returns the growth of a quantity in units an hour, by least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (at, value) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let covariance: f64 = samples.iter().map(|sample| (sample.0 - at) * (sample.1 - value)).sum();
    let variance: f64 = samples.iter().map(|sample| (sample.0 - at).powi(2)).sum();
    covariance / variance * 3_600.0
}

/// Runs half of a core's load, with frequent refreshes and short connections.
async fn soak(time: Duration) {
    // Refreshed about every three and a half minutes.
    let environment = [("RUST_LOG", "error"), ("ECR_BROKER_LIMITS_LOCAL_REQUESTS_PER_SECOND", "10000")];
    let broker = simulated_broker(&["--simulate-token-lifetime", "7m"], &environment);
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers = (0..20_u64).map(|number| {
        let (address, stop, calls) = (broker.address.clone(), Arc::clone(&stop), Arc::clone(&calls));
        tokio::spawn(async move {
            let mut tick = interval(Duration::from_millis(5));
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !stop.load(Ordering::Relaxed) {
                let mut client = Client::new(channel(&address).await.unwrap());
                for call in 0..2_000 {
                    tick.tick().await;
                    client.get_registry_credentials(request(&host(number as usize * 7 + call % 50))).await.unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    let (mut memory, mut descriptors, began) = (Vec::new(), Vec::new(), Instant::now());
    // After a third of the time, every cache is full.
    sleep(time / 3).await;
    while began.elapsed() < time {
        let at = began.elapsed().as_secs_f64();
        memory.push((at, broker.memory_mb() as f64));
        descriptors.push((at, broker.descriptors() as f64));
        sleep(Duration::from_secs(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let (calls, growth, opened) = (calls.load(Ordering::Relaxed), slope(&memory), slope(&descriptors));
    println!(
        "{time:?}: {calls} calls, none failed; {} MB, {growth:+.1} MB an hour; {} descriptors, {opened:+.1} an hour",
        memory.last().unwrap().1,
        descriptors.last().unwrap().1,
    );
    assert!(growth < 6.0 && opened < 6.0, "{growth} MB and {opened} descriptors an hour");
    broker.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half an hour: cargo test --release --test survival -- --ignored soak"]
async fn soak_of_half_an_hour() {
    soak(Duration::from_mins(30)).await;
}
