//! Fills: one call to AWS for a fleet.

use std::collections::BTreeSet;
use std::time::Duration;

use ecr_broker::error::{BrokerError, FailureClass};
use ecr_broker::source::shared_cache::keys::{Keys, new_seal_line};
use futures_util::future::join_all;

use super::fleet::{Fleet, ask};
use super::store::with_each;
use super::support::{HOST, host};

#[tokio::test(flavor = "multi_thread")]
async fn thirty_cold_replicas_make_one_call() {
    with_each(async |kind| {
        let store = kind.start();
        let fleet = Fleet::new(&store.url()).await;
        fleet.aws.set_latency(Duration::from_millis(300));
        let replicas = fleet.replicas(30).await;
        let passwords: BTreeSet<_> = ask(&replicas, HOST).await.into_iter().collect();
        assert_eq!((passwords.len(), fleet.aws.calls()), (1, 1), "{store:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_fresh_replicas_serve_from_a_warm_cache_while_aws_is_down() {
    with_each(async |kind| {
        let store = kind.start();
        let fleet = Fleet::new(&store.url()).await;
        let first = ask(&fleet.replicas(1).await, HOST).await;
        fleet.fail(Some("server-error"));
        let replicas = fleet.replicas(30).await;
        let passwords = ask(&replicas, HOST).await;
        assert!(passwords.iter().all(|password| *password == first[0]), "{store:?}");
        assert_eq!(fleet.aws.calls(), 1, "{store:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_during_the_fill_reaches_all_replicas_after_one_fetch() {
    with_each(async |kind| {
        let alone = async |replicas: usize| {
            let store = kind.start();
            let fleet = Fleet::new(&store.url()).await;
            fleet.aws.set_latency(Duration::from_millis(200));
            fleet.fail(Some("throttle"));
            let replicas = fleet.replicas(replicas).await;
            let failures = join_all(replicas.iter().map(|replica| replica.get(HOST))).await;
            for failure in failures {
                let Err(BrokerError::Upstream(failure)) = failure else { panic!("{failure:?}") };
                assert_eq!(failure.class, FailureClass::Throttled);
            }
            fleet.aws.calls()
        };
        let of_one = alone(1).await;
        assert_eq!(alone(10).await, of_one, "the calls of one fetch with its retries");
    })
    .await;
}

/// Other brokers fetch, while each replica learns the new key before one seals with it.
#[tokio::test(flavor = "multi_thread")]
async fn rotation_in_three_steps_under_load_costs_no_call() {
    with_each(async |kind| {
        let store = kind.start();
        let fleet = Fleet::new(&store.url()).await;
        let replicas = fleet.replicas(10).await;
        let old = std::fs::read_to_string(fleet.keys_file()).unwrap();
        let (names, seal) = old.trim_end().split_once('\n').unwrap();
        let new = new_seal_line().unwrap();
        let steps = [
            format!("{names}\n{seal}\n"),
            format!("{names}\n{seal}\n{}\n", *new),
            format!("{names}\n{}\n{seal}\n", *new),
            format!("{names}\n{}\n", *new),
        ];
        let mut registries = 0;
        for (number, step) in steps.iter().enumerate() {
            let keys = Keys::parse(step.as_bytes()).unwrap();
            // Each replica changes while the others fill and read.
            for (changing, replica) in replicas.iter().enumerate() {
                replica.keys.as_ref().unwrap().ring().replace(&keys).unwrap();
                let one = host(1_000 * number + changing);
                let passwords: BTreeSet<_> = ask(&replicas, &one).await.into_iter().collect();
                assert_eq!(passwords.len(), 1);
                registries += 1;
            }
            assert_eq!(fleet.aws.calls(), registries, "step {number} of {store:?}");
        }
        let fresh = fleet.replica().await;
        fresh.keys.as_ref().unwrap().ring().replace(&Keys::parse(steps[3].as_bytes()).unwrap()).unwrap();
        fresh.get(&host(3_000)).await.unwrap();
        assert_eq!(fleet.aws.calls(), registries, "what the new key sealed stays readable");
        fresh.get(&host(0)).await.unwrap();
        assert_eq!(fleet.aws.calls(), registries + 1, "what only the old key opens is fetched again");
    })
    .await;
}
