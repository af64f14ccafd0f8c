//! What one caller may ask for, over the wire: whoever asks for too much is turned away, and nobody else.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;
mod tokens;

use std::num::NonZeroU32;
use std::time::Duration;

use ecr_broker::limits;
use ecr_broker::pb;
use ecr_broker::policy::Policy;
use support::*;
use tokens::{ISSUER, Signer, bearing, issuers, seconds};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A broker that takes tokens over loopback, and callers on its socket.
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

/// How long it is to wait, where it asked for too much.
fn wait(status: &Status) -> Duration {
    let details = status.get_error_details();
    assert_eq!(
        (status.code(), details.error_info().unwrap().reason.as_str()),
        (Code::ResourceExhausted, "CALLER_RATE_LIMITED")
    );
    details.retry_info().unwrap().retry_delay.unwrap()
}

async fn ask(client: &mut Client, token: &str) -> Result<(), Status> {
    client.get_registry_credentials(bearing(token, request(HOST))).await.map(drop)
}

#[tokio::test]
async fn a_greedy_caller_is_turned_away_and_its_neighbours_are_served() {
    let served = Served::start(|limits| limits.requests_per_second = count(10));
    let (greedy, honest) = (served.token("greedy"), served.token("honest"));
    let mut client = served.broker.client().await;
    let batch = pb::BatchGetRegistryCredentialsRequest { requests: vec![request(HOST); 99] };
    client.batch_get_registry_credentials(bearing(&greedy, batch)).await.unwrap();
    ask(&mut client, &greedy).await.unwrap();
    let too_much = ask(&mut client, &greedy).await.unwrap_err();
    assert!(wait(&too_much) >= Duration::from_millis(100), "{too_much}");
    let identity = bearing(&greedy, pb::GetCallerIdentityRequest {});
    wait(&client.get_caller_identity(identity).await.unwrap_err());
    ask(&mut client, &honest).await.unwrap();
    served.broker.clock.advance(wait(&too_much));
    ask(&mut client, &greedy).await.unwrap();
    // A user of this host is not counted so.
    let mut user = served.broker.unix_client().await;
    for _ in 0..200 {
        user.get_registry_credentials(request(HOST)).await.unwrap();
    }
}

#[tokio::test]
async fn a_caller_has_so_many_requests_under_way_and_gets_its_room_back_when_it_gives_up() {
    let served = Served::start(|limits| limits.in_flight = 100);
    let broker = &served.broker;
    broker.source.shut();
    let client = broker.unix_client().await;
    let batch = pb::BatchGetRegistryCredentialsRequest { requests: vec![request(HOST); 100] };
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.batch_get_registry_credentials(batch).await.map(drop) });
    broker.source.until_calls(1).await;
    let mut other = client.clone();
    wait(&other.get_registry_credentials(request(HOST)).await.unwrap_err());
    waiting.abort();
    // The broker hears of it a moment later.
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
async fn a_flood_of_bad_tokens_is_not_looked_at_and_a_user_of_the_same_host_is_served() {
    let served = Served::start(|limits| limits.failures_per_second = count(1));
    let (good, mut client) = (served.token("good"), served.broker.client().await);
    for number in 0..10 {
        let refused = ask(&mut client, &format!("{good}x")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{number}");
    }
    let shut = ask(&mut client, &good).await.unwrap_err();
    assert!(wait(&shut) > Duration::ZERO);
    served.broker.unix_client().await.get_registry_credentials(request(HOST)).await.unwrap();
    // Whoever sends none is known by something else.
    client.get_registry_credentials(request(HOST)).await.unwrap();
    served.broker.clock.advance(wait(&shut));
    ask(&mut client, &good).await.unwrap();
}
