//! The program itself, in several processes.

use std::collections::BTreeSet;
use std::time::Duration;

use ecr_broker::source::shared_cache::tier::LEASE_TTL;
use tokio::time::Instant;

use super::fleet::Fleet;
use super::program::{Ended, Server, program, run};
use super::store::with_each;
use super::support::{HOST, host};

/// Brokers that start at once. Each takes about 40 MB and, unoptimised, a second of CPU time.
const PROCESSES: usize = 10;

/// A broker of the fleet. Its temporary keys do not name an identity, so that the configured name counts.
fn start(fleet: &Fleet) -> Server {
    let file = fleet.configuration().display().to_string();
    let environment = [
        ("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
        ("AWS_SESSION_TOKEN", "none"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let mut command = program(&environment);
    command.args(["serve", "--config", &file]);
    Server::spawn_logging(command)
}

/// Asks a broker as a build does; returns the password.
fn get(broker: &Server, host: &str) -> String {
    let address = broker.address.clone();
    run(&["get", host, "-o", "password", "--address", &address, "--timeout", "60s"], &[]).out()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_processes_make_one_call_and_survive_a_restart_while_aws_is_down() {
    with_each(async |kind| {
        let store = kind.start();
        let fleet = Fleet::new(&store.url()).await;
        fleet.aws.set_latency(Duration::from_millis(500));
        let all = |fleet: &Fleet| {
            std::thread::scope(|scope| {
                let started: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(|| start(fleet))).collect();
                started.into_iter().map(|broker| broker.join().unwrap()).collect::<Vec<_>>()
            })
        };
        let ask = |brokers: &[Server]| {
            std::thread::scope(|scope| {
                let asked: Vec<_> = brokers.iter().map(|broker| scope.spawn(|| get(broker, HOST))).collect();
                asked.into_iter().map(|answer| answer.join().unwrap()).collect::<BTreeSet<_>>()
            })
        };
        tokio::task::block_in_place(|| {
            let brokers = all(&fleet);
            let passwords = ask(&brokers);
            assert_eq!((passwords.len(), fleet.aws.calls()), (1, 1), "{store:?}");
            for broker in brokers {
                drop(broker.stop());
            }
            fleet.fail(Some("server-error"));
            assert_eq!(ask(&all(&fleet)), passwords, "the fleet has restarted");
            assert_eq!(fleet.aws.calls(), 1, "{store:?}");
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lease_of_a_killed_process_passes_to_another_broker() {
    with_each(async |kind| {
        let store = kind.start();
        let fleet = Fleet::new(&store.url()).await;
        fleet.aws.set_latency(Duration::from_mins(10));
        let holder = tokio::task::block_in_place(|| start(&fleet));
        let address = holder.address.clone();
        let waiting = std::thread::spawn(move || {
            Ended::of(program(&[]).args(["get", HOST, "--address", &address, "--timeout", "20s"]))
        });
        fleet.aws.until_calls(1).await;
        fleet.aws.set_latency(Duration::ZERO);
        let replica = fleet.replica().await;
        let started = Instant::now();
        drop(holder);
        replica.get(HOST).await.unwrap();
        let took = started.elapsed();
        // Room for a busy machine.
        assert!(took < LEASE_TTL + Duration::from_secs(5), "{took:?} {store:?}");
        assert_eq!(fleet.aws.calls(), 2, "{store:?}");
        tokio::task::block_in_place(|| waiting.join().unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_is_logged_once_and_shown_in_the_status() {
    with_each(async |kind| {
        let mut store = kind.start();
        let fleet = Fleet::new(&store.url()).await;
        let broker = tokio::task::block_in_place(|| start(&fleet));
        let status = || {
            let address = broker.address.clone();
            tokio::task::block_in_place(|| run(&["status", "--address", &address], &[]).out())
        };
        let until = |text: &str| {
            while !status().contains(text) {
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        until("shared      1 of 1 servers connected");
        store.kill();
        until("UNAVAILABLE for ");
        tokio::task::block_in_place(|| get(&broker, &host(1)));
        assert!(status().contains("(unreachable)"), "{}", status());
        store.restart();
        until("shared      1 of 1 servers connected");
        let log = tokio::task::block_in_place(|| broker.stop());
        assert_eq!(log.matches("shared cache unavailable").count(), 1, "{log}");
        assert_eq!(log.matches("shared cache available again").count(), 1, "{log}");
    })
    .await;
}
