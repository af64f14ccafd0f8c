//! Clients in this process, whose clock is behind the broker's: only a refusal shows that a cached token has ended.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ecr_broker::client::token::CommandLine;
use ecr_broker::client::{Client, Failure, PartialConfig, Paths, Query, Settings, Watch, WatchEvent};
use ecr_broker::policy::Policy;
use tonic::Code;

use crate::support::{HOST, MINUTE, TestBroker, TestCache, lookup, lookup_rejecting};
use crate::tokens::{ISSUER, SUBJECT, Signer, issuers, seconds};

/// A broker with an issuer, and a client whose program prints the file `token`.
struct Setup {
    directory: tempfile::TempDir,
    signer: Signer,
    broker: TestBroker,
    settings: Settings,
}

impl Setup {
    fn new() -> Self {
        let (cache, signer, directory) = (TestCache::new(), Signer::new("k1"), tempfile::tempdir().unwrap());
        let issuers = issuers(&signer, directory.path(), cache.clock.clone());
        let broker = TestBroker::start_on(cache, Policy::Open, None, |setup| setup.auth.issuers = Some(issuers));
        let settings = settings(&broker, directory.path());
        let setup = Self { directory, signer, broker, settings };
        setup.issue();
        setup
    }

    /// Issues a token of 10 minutes as the next one.
    fn issue(&self) {
        let token = self.signer.token(ISSUER, SUBJECT, seconds(&*self.broker.clock));
        fs::write(self.directory.path().join("token"), token).unwrap();
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.directory.path().join("runs")).unwrap_or_default().lines().count()
    }
}

fn settings(broker: &TestBroker, directory: &Path) -> Settings {
    let script = format!("cd {}; echo run >>runs; cat token", directory.display());
    let config = PartialConfig {
        address: Some(format!("http://{}", broker.tcp).parse().unwrap()),
        token_exec: Some(CommandLine(["sh", "-c", &script].map(str::to_owned).to_vec())),
        timeout: Some(Duration::from_secs(30)),
        ..PartialConfig::default()
    };
    config.settings(&Paths::default()).unwrap().0
}

fn query() -> Query {
    Query { registry: HOST.to_owned(), ..Query::default() }
}

async fn get(client: &mut Client<'_>) -> Result<String, Failure> {
    client.credentials(&[query()]).await?.remove(0).map(|credentials| credentials.registry)
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_cached_token_is_replaced_and_the_call_succeeds() {
    let setup = Setup::new();
    let mut client = Client::connect(&setup.settings).await.unwrap();
    for _ in 0..3 {
        assert_eq!(get(&mut client).await.unwrap(), HOST);
    }
    assert_eq!(setup.runs(), 1);
    setup.broker.clock.advance(11 * MINUTE);
    setup.issue();
    assert_eq!(get(&mut client).await.unwrap(), HOST);
    assert!(client.caller_identity().await.unwrap().principal.contains(SUBJECT));
    assert_eq!(setup.runs(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn second_refusal_is_the_error_of_the_call() {
    let setup = Setup::new();
    let mut client = Client::connect(&setup.settings).await.unwrap();
    get(&mut client).await.unwrap();
    // The source has the same token still.
    setup.broker.clock.advance(11 * MINUTE);
    let failure = get(&mut client).await.unwrap_err();
    assert_eq!((failure.code, setup.runs()), (Code::Unauthenticated, 2), "{failure}");
    assert_eq!(failure.metadata.get("cause").map(String::as_str), Some("TOKEN_EXPIRED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_opens_again_with_the_next_token() {
    let setup = Setup::new();
    let queries = [query()];
    let mut watch = Watch::new(&setup.settings, &queries);
    assert!(matches!(watch.next().await, WatchEvent::Credentials(_)));
    assert!(matches!(watch.next().await, WatchEvent::SnapshotComplete));
    setup.broker.clock.step_wall_forward(11 * MINUTE);
    setup.issue();
    refetch(&setup.broker).await;
    let (mut ended, mut renewed) = (0, 0);
    while renewed == 0 {
        match watch.next().await {
            WatchEvent::Ended => ended += 1,
            WatchEvent::Credentials(_) => renewed += usize::from(ended > 0),
            event => assert!(!matches!(event, WatchEvent::WatchFailed(_)), "{event:?}"),
        }
    }
    assert_eq!((ended, setup.runs()), (1, 2));
}

/// Replaces the broker's credential, so that the watch has an event.
async fn refetch(broker: &TestBroker) {
    broker.clock.advance(2 * MINUTE);
    let cached = broker.cache.get(lookup(HOST)).await.unwrap().credential.id();
    _ = broker.cache.get(lookup_rejecting(HOST, cached)).await;
}
