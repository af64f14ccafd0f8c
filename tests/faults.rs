//! Network faults between the broker and AWS, and a search for secrets in everything that the broker writes.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod certificates;
mod fake_aws;
mod program;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ecr_broker::pb;
use fake_aws::{CANARY, FakeAws, FaultProxy};
use futures_util::future::join_all;
use program::Server;
use support::{Client, request};
use tokio::time::{Instant, sleep};
use tonic::transport::Endpoint;
use tonic_types::StatusExt as _;

const CALLERS: u64 = 24;
const REGIONS: [&str; 4] = ["eu-central-1", "eu-west-1", "us-east-1", "ap-south-1"];

/// The calls by outcome.
type Tally = BTreeMap<String, u64>;

/// Starts a broker behind the proxy, with logs at TRACE.
fn broker(aws: &FakeAws, port: u16, directory: &Path) -> Server {
    let audit = directory.join("audit.log");
    let mut environment = aws.environment(port);
    environment.push(("RUST_LOG", "trace".to_owned()));
    environment.push(("ECR_BROKER_AUDIT_OUTPUT", audit.to_str().unwrap().to_owned()));
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::start(&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"], &environment)
}

/// Requests new registries until `until`.
async fn call(aws: Arc<FakeAws>, uri: String, seed: u64, until: Instant) -> Tally {
    let channel = Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::new();
    while Instant::now() < until {
        let region = random.choice(REGIONS).unwrap();
        let account = random.u64(0..1_000_000_000_000);
        let (host, scope) = if random.u32(0..10) == 0 {
            ("public.ecr.aws".to_owned(), "ecr-public/us-east-1".to_owned())
        } else {
            (format!("{account:012}.dkr.ecr.{region}.amazonaws.com"), format!("ecr/{region}"))
        };
        let reason = match Client::new(channel.clone()).get_registry_credentials(request(&host)).await {
            Ok(answer) => {
                let password = answer.into_inner().credentials.unwrap().password;
                assert_eq!(aws.issued_for(&password).as_deref(), Some(scope.as_str()), "a credential for {host}");
                "served".to_owned()
            }
            Err(status) => {
                let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
                reason.unwrap_or_else(|| panic!("{status:?}"))
            }
        };
        *tally.entry(reason).or_default() += 1;
        sleep(Duration::from_millis(random.u64(0..100))).await;
    }
    tally
}

async fn inject_faults(seed: u64, time: Duration) {
    let directory = tempfile::tempdir().unwrap();
    let aws = Arc::new(FakeAws::start(directory.path()).await);
    let proxy = FaultProxy::start(aws.address, seed).await;
    let broker = broker(&aws, proxy.port, directory.path());
    let uri = broker.address.replace("grpc://", "http://");
    let before = broker.descriptors();
    let until = Instant::now() + time;
    let calls = (0..CALLERS).map(|number| tokio::spawn(call(Arc::clone(&aws), uri.clone(), seed + number, until)));
    let mut tally = Tally::new();
    for own in join_all(calls).await {
        own.unwrap().into_iter().for_each(|(reason, count)| *tally.entry(reason).or_default() += count);
    }
    println!("{time:?} of faults, seed {seed}: {tally:?}");
    let known = ["served", "AWS_UNAVAILABLE", "AWS_RESPONSE_INVALID", "OVERLOADED", "AWS_THROTTLED"];
    assert!(tally.keys().all(|reason| known.contains(&reason.as_str())), "{tally:?}");
    assert!(tally["served"] > 0 && tally["AWS_UNAVAILABLE"] > 0, "{tally:?}");

    // Recovery.
    proxy.stop_faults();
    let mut client = Client::new(Endpoint::from_shared(uri).unwrap().connect().await.unwrap());
    for region in REGIONS {
        let host = format!("999999999999.dkr.ecr.{region}.amazonaws.com");
        let recovery = Instant::now();
        while let Err(status) = client.get_registry_credentials(request(&host)).await {
            assert!(recovery.elapsed() < Duration::from_secs(35), "{status:?}");
            let wait = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
            sleep(wait).await;
        }
    }
    // Failed calls closed their connections. Few are kept for the next call.
    let after = broker.descriptors();
    println!("{before} descriptors before, {after} after");
    assert!(after < before + 100, "{before} descriptors before, {after} after");
    _ = client.list_registries(pb::ListRegistriesRequest::default()).await.unwrap();
    drop(client);
    let logs = broker.stop();
    for line in ["panicked", "fetches abandoned at shutdown"] {
        assert!(!logs.contains(line), "{line}");
    }
    let audit = fs::read_to_string(directory.path().join("audit.log")).unwrap();
    assert_eq!(audit.lines().count() as u64, tally["served"] + REGIONS.len() as u64);
    assert_no_secret("the log", &logs);
    assert_no_secret("the audit log", &audit);
}

/// Checks for the secret in plaintext and in AWS's encoding.
fn assert_no_secret(place: &str, text: &str) {
    assert!(!text.is_empty(), "{place}");
    for secret in [CANARY.to_owned(), data_encoding::BASE64.encode(format!("AWS:{CANARY}").as_bytes())[..20].to_owned()]
    {
        let found = text.lines().find(|line| line.contains(&secret));
        assert!(found.is_none(), "a secret in {place}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_network_faults_never_yield_a_credential_that_aws_did_not_issue() {
    inject_faults(1, Duration::from_secs(15)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes: cargo test --test faults -- --ignored"]
async fn p12_ten_minutes_of_faults() {
    inject_faults(2, Duration::from_mins(10)).await;
}
