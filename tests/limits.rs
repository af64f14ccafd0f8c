//! Limits over gRPC: a caller that exceeds its limits is rejected, and other callers are served.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;
mod support;
mod tokens;

use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use ecr_broker::limits;
use ecr_broker::pb;
use ecr_broker::policy::Policy;
use program::Server;
use support::*;
use tokens::{ISSUER, Signer, bearing, issuers, seconds};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A broker that accepts tokens over loopback, and callers on its Unix socket.
struct Served {
    broker: TestBroker,
    signer: Signer,
    _keys: tempfile::TempDir,
}

impl Served {
    fn start(change: impl FnOnce(&mut limits::Settings)) -> Self {
        let (cache, signer, keys) = (TestCache::new(), Signer::new("k1"), tempfile::tempdir().unwrap());
        let issuers = issuers(&signer, keys.path(), cache.clock.clone());
        let broker = TestBroker::start_on(cache, Policy::Open, None, |setup| {
            setup.auth.issuers = Some(issuers);
            change(&mut setup.config.limits);
        });
        Self { broker, signer, _keys: keys }
    }

    fn token(&self, subject: &str) -> String {
        self.signer.token(ISSUER, subject, seconds(&*self.broker.clock))
    }
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// Returns the retry delay of a rate-limited call.
fn retry_delay(status: &Status) -> Duration {
    let details = status.get_error_details();
    assert_eq!(
        (status.code(), details.error_info().unwrap().reason.as_str()),
        (Code::ResourceExhausted, "CALLER_RATE_LIMITED")
    );
    details.retry_info().unwrap().retry_delay.unwrap()
}

async fn call(client: &mut Client, token: &str) -> Result<(), Status> {
    client.get_registry_credentials(bearing(token, request(HOST))).await.map(drop)
}

#[tokio::test]
async fn caller_over_its_rate_is_rejected_and_others_are_served() {
    let served = Served::start(|limits| limits.requests_per_second = count(10));
    let (greedy, honest) = (served.token("greedy"), served.token("honest"));
    let mut client = served.broker.client().await;
    let batch = pb::BatchGetRegistryCredentialsRequest { requests: vec![request(HOST); 99] };
    client.batch_get_registry_credentials(bearing(&greedy, batch)).await.unwrap();
    call(&mut client, &greedy).await.unwrap();
    let limited = call(&mut client, &greedy).await.unwrap_err();
    assert!(retry_delay(&limited) >= Duration::from_millis(100), "{limited}");
    let identity = bearing(&greedy, pb::GetCallerIdentityRequest {});
    retry_delay(&client.get_caller_identity(identity).await.unwrap_err());
    call(&mut client, &honest).await.unwrap();
    served.broker.clock.advance(retry_delay(&limited));
    call(&mut client, &greedy).await.unwrap();
    // Users of this host have a higher one.
    let mut user = served.broker.unix_client().await;
    for _ in 0..200 {
        user.get_registry_credentials(request(HOST)).await.unwrap();
    }
}

#[tokio::test]
async fn local_caller_over_its_rate_is_rejected_and_others_are_served() {
    let served = Served::start(|limits| limits.local_requests_per_second = count(10));
    let broker = &served.broker;
    let (mut user, mut loopback) = (broker.unix_client().await, broker.client().await);
    let batch = pb::BatchGetRegistryCredentialsRequest { requests: vec![request(HOST); 60] };
    user.batch_get_registry_credentials(batch.clone()).await.unwrap();
    let limited = user.batch_get_registry_credentials(batch.clone()).await.unwrap_err();
    assert!(retry_delay(&limited) >= Duration::from_secs(1), "a batch counts its registries: {limited}");
    for _ in 0..39 {
        user.get_registry_credentials(request(HOST)).await.unwrap();
    }
    retry_delay(&user.get_registry_credentials(request(HOST)).await.unwrap_err());
    loopback.batch_get_registry_credentials(batch).await.unwrap();
    call(&mut loopback, &served.token("remote")).await.unwrap();
    broker.clock.advance(Duration::from_secs(1));
    user.get_registry_credentials(request(HOST)).await.unwrap();
}

#[tokio::test]
async fn in_flight_limit_is_released_when_the_caller_cancels() {
    let served = Served::start(|limits| limits.in_flight = 100);
    let broker = &served.broker;
    broker.source.shut();
    let client = broker.unix_client().await;
    let batch = pb::BatchGetRegistryCredentialsRequest { requests: vec![request(HOST); 100] };
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.batch_get_registry_credentials(batch).await.map(drop) });
    broker.source.until_calls(1).await;
    let mut other = client.clone();
    retry_delay(&other.get_registry_credentials(request(HOST)).await.unwrap_err());
    waiting.abort();
    // The broker learns of the cancellation a moment later.
    let mut again = tokio::spawn({
        let mut client = client.clone();
        async move {
            while client.get_caller_identity(pb::GetCallerIdentityRequest {}).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    });
    tokio::time::timeout(Duration::from_secs(10), &mut again).await.unwrap().unwrap();
    broker.source.open();
    other.get_registry_credentials(request(HOST)).await.unwrap();
}

#[tokio::test]
async fn flood_of_bad_tokens_blocks_tokens_but_no_local_user() {
    let served = Served::start(|limits| limits.failures_per_second = count(1));
    let (good, mut client) = (served.token("good"), served.broker.client().await);
    for number in 0..10 {
        let refused = call(&mut client, &format!("{good}x")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{number}");
    }
    let blocked = call(&mut client, &good).await.unwrap_err();
    assert!(retry_delay(&blocked) > Duration::ZERO);
    served.broker.unix_client().await.get_registry_credentials(request(HOST)).await.unwrap();
    // A call without a token is authenticated by loopback.
    client.get_registry_credentials(request(HOST)).await.unwrap();
    served.broker.clock.advance(retry_delay(&blocked));
    call(&mut client, &good).await.unwrap();
}

#[tokio::test]
async fn program_raises_the_rate_of_a_named_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let uid = std::fs::metadata(folder.path()).unwrap().uid();
    let [file, socket] = ["config.toml", "broker.sock"].map(|name| folder.path().join(name).display().to_string());
    let raised = format!("[[limits.callers]]\ncallers = [{{ uid = {uid} }}]\nrequests_per_second = 1000\n");
    std::fs::write(&file, format!("[limits]\nlocal_requests_per_second = 10\n{raised}")).unwrap();
    let unix = format!("unix:{socket}");
    let arguments = ["serve", "--simulate", "--config", &file, "--listen", &unix, "--listen", "127.0.0.1:0"];
    let (server, tcp) = Server::start_with_second("grpc://", &arguments, &[]);
    let connect = |uri: String| async { Client::connect(uri).await.unwrap() };
    let (mut named, mut other) = (connect(format!("unix:{socket}")).await, connect(format!("http://{tcp}")).await);
    // The burst of ten seconds: 100 requests, or 10,000.
    let batch = pb::BatchGetRegistryCredentialsRequest { requests: vec![request(HOST); 100] };
    other.batch_get_registry_credentials(batch.clone()).await.unwrap();
    retry_delay(&other.batch_get_registry_credentials(batch.clone()).await.unwrap_err());
    for _ in 0..20 {
        named.batch_get_registry_credentials(batch.clone()).await.unwrap();
    }
    server.stop();
}
