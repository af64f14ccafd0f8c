//! `max_lifetime` of a grant: short-lived tokens of the simulated AWS, through the whole broker.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::duration_suboptimal_units, reason = "a test may")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use ecr_broker::broker::{Broker, CredentialRequest, Released, RequestContext};
use ecr_broker::cache::{CacheStatus, CredentialCache, IdentityTokens, SharedKeys};
use ecr_broker::caller::Caller;
use ecr_broker::config::{Config, Sources};
use ecr_broker::credential::Lifetime;
use ecr_broker::error::{BrokerError, FailureClass};
use ecr_broker::metrics;
use ecr_broker::policy::{CallerPattern, Effect, Grant, Policy, RegistryPattern};
use ecr_broker::registry::{EndpointVariant, PrivateRegistry, Registry};
use ecr_broker::simulator::{self, Answer, Controls, Fault, FaultRate, Service, Simulator};
use ecr_broker::source::aws::Aws;
use ecr_broker::source::{CredentialSource, Metrics};
use support::*;

const REGION: &str = "eu-central-1";
const STRANGER: u32 = 1001;
const FARM: u32 = 1002;
const QUARTER: Duration = Duration::from_secs(15 * 60);

/// A broker whose grant limits one caller to 15 minutes and another to nothing, and the AWS behind it.
struct ShortLived {
    broker: Arc<Broker>,
    cache: CredentialCache,
    aws: Controls,
    clock: Arc<ManualClock>,
}

fn grant(id: &str, uid: u32, max_lifetime: Option<Lifetime>) -> Grant {
    Grant {
        id: id.into(),
        callers: vec![CallerPattern::Uid(uid)],
        registries: vec![RegistryPattern::every_private()],
        profile: Some("default".into()),
        effect: Effect::Allow,
        max_lifetime,
    }
}

fn policy() -> Policy {
    Policy::Grants(vec![grant("strangers", STRANGER, Lifetime::new(QUARTER)), grant("farm", FARM, None)])
}

impl ShortLived {
    async fn start() -> Self {
        Self::start_with(policy(), |source, _| source).await
    }

    /// Starts with a layer over AWS.
    async fn start_with(
        policy: Policy,
        layer: impl FnOnce(Arc<dyn CredentialSource>, Arc<ManualClock>) -> Arc<dyn CredentialSource>,
    ) -> Self {
        let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), simulator::Settings::default()).await.unwrap();
        let (url, controls) = (format!("http://{}", simulator.address()), simulator.controls());
        tokio::spawn(simulator.run_until(std::future::pending()));
        let clock = ManualClock::new();
        controls.set_clock(clock.clone());
        let settings = ["ECR_ENDPOINT", "SIGNIN_ENDPOINT", "STS_ENDPOINT"].map(|name| (name, url.clone()));
        let environment = settings.into_iter().chain([("REGION", REGION.to_owned())]);
        let environment = environment.map(|(name, value)| (format!("ECR_BROKER_AWS_{name}"), value)).collect();
        let mut config = Config::load(&Sources { environment, ..Sources::default() }).unwrap();
        config.aws.simulated_credentials = true;
        let registry = &mut metrics::Registry::default();
        let metrics = Metrics::new(registry);
        let aws = Aws::load(config.aws, clock.clone(), &metrics, registry).await.unwrap();
        let cache = cache(cache_settings(), layer(Arc::new(aws), clock.clone()), clock.clone());
        let broker = broker(cache.clone(), broker_settings(policy, Some(REGION.parse().unwrap())));
        Self { broker, cache, aws: controls, clock }
    }

    async fn get(&self, uid: u32, host: &str) -> Result<Released, BrokerError> {
        self.ask(uid, credential_request(host, Duration::ZERO)).await
    }

    async fn ask(&self, uid: u32, request: CredentialRequest) -> Result<Released, BrokerError> {
        let context = RequestContext { caller: Caller::Process { uid, gid: 1 }, ..request.context.clone() };
        self.broker.registry_credentials(CredentialRequest { context, ..request }).await
    }

    fn calls(&self) -> (u64, u64) {
        (self.aws.calls_to(Service::Signin, REGION), self.aws.calls_to(Service::Ecr, REGION))
    }
}

fn remaining(test: &ShortLived, released: &Released) -> Duration {
    let now = ecr_broker::clock::Clock::now(&*test.clock);
    released.found.credential.remaining(now)
}

fn class(error: BrokerError) -> (FailureClass, String) {
    match error {
        BrokerError::Upstream(failure) => (failure.class, failure.to_string()),
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn callers_of_two_grants_get_credentials_of_their_own_lifetimes() {
    let test = ShortLived::start().await;
    let (short, long) = (test.get(STRANGER, HOST).await.unwrap(), test.get(FARM, HOST).await.unwrap());
    assert_eq!((remaining(&test, &short), remaining(&test, &long)), (QUARTER, 12 * HOUR));
    assert_ne!(short.found.credential.id(), long.found.credential.id());
    assert_eq!((test.calls(), test.cache.cached_count()), ((1, 1), 2));
    assert_eq!(short.found.credential.account().unwrap().as_str(), "123456789012");
    for (uid, first) in [(STRANGER, short), (FARM, long)] {
        let again = test.get(uid, HOST).await.unwrap();
        assert_eq!((again.found.status, again.found.credential.id()), (CacheStatus::Hit, first.found.credential.id()));
    }
    assert_eq!(test.calls(), (1, 1));
}

#[tokio::test]
async fn short_lived_credential_is_refreshed_at_half_its_life() {
    let test = ShortLived::start().await;
    let first = test.get(STRANGER, HOST).await.unwrap();
    test.clock.advance(6 * MINUTE);
    test.get(STRANGER, HOST).await.unwrap();
    test.cache.wait_for_fetches(HOUR).await;
    assert_eq!(test.calls(), (1, 0), "not due, whatever the jitter");
    test.clock.advance(3 * MINUTE);
    let hit = test.get(STRANGER, HOST).await.unwrap();
    assert_eq!(hit.found.credential.id(), first.found.credential.id());
    test.cache.wait_for_fetches(HOUR).await;
    let new = test.get(STRANGER, HOST).await.unwrap();
    assert_eq!((test.calls(), remaining(&test, &new)), ((2, 0), QUARTER));
    assert_ne!(new.found.credential.id(), first.found.credential.id());
}

/// An outage of AWS costs builds after minutes: no credential is released past its end, or within the safety margin.
#[tokio::test]
async fn throttled_refresh_serves_the_credential_until_its_margin_and_no_longer() {
    let test = ShortLived::start().await;
    let first = test.get(STRANGER, HOST).await.unwrap();
    test.aws.set_faults(vec![FaultRate { fault: Fault::Throttle, rate: 1.0 }]);
    test.clock.advance(9 * MINUTE);
    test.get(STRANGER, HOST).await.unwrap();
    test.cache.wait_for_fetches(HOUR).await;
    let stale = test.get(STRANGER, HOST).await.unwrap();
    assert_eq!((stale.found.status, stale.found.credential.id()), (CacheStatus::Stale, first.found.credential.id()));
    test.clock.advance(2 * MINUTE);
    let (class, message) = class(test.get(STRANGER, HOST).await.unwrap_err());
    assert_eq!(class, FailureClass::Throttled);
    assert!(message.contains("(TooManyRequestsError)"), "{message}");
    test.aws.set_faults(Vec::new());
    test.clock.advance(MINUTE);
    assert_eq!(remaining(&test, &test.get(STRANGER, HOST).await.unwrap()), QUARTER);
}

#[tokio::test]
async fn refusals_of_aws_name_the_grant_or_the_permission() {
    let test = ShortLived::start().await;
    test.aws.set_answers(vec![Answer::NoBearer]);
    let (refused, message) = class(test.get(STRANGER, HOST).await.unwrap_err());
    assert_eq!(refused, FailureClass::Misconfigured);
    assert!(message.contains("(ValidationException)") && message.contains("remove max_lifetime"), "{message}");
    test.get(FARM, HOST).await.unwrap();
    test.aws.set_faults(vec![FaultRate { fault: Fault::Denied, rate: 1.0 }]);
    let other = host(7);
    let (denied, message) = class(test.get(STRANGER, &other).await.unwrap_err());
    assert_eq!(denied, FailureClass::Denied);
    assert!(message.contains("allow signin:CreateBearerToken"), "{message}");
}

#[tokio::test]
async fn request_that_no_short_lived_token_can_meet_is_refused_without_a_call() {
    let test = ShortLived::start().await;
    let error = test.ask(STRANGER, credential_request(HOST, 8 * MINUTE)).await.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.reason(), "VALIDITY_UNSATISFIABLE");
    assert!(message.contains("at most 7m 30s (half of the grant's max_lifetime)"), "{message}");
    let nameless = PrivateRegistry::new(None, REGION.parse().unwrap(), EndpointVariant::default()).unwrap();
    let request = credential_request(HOST, Duration::ZERO);
    let nameless = CredentialRequest::new(request.context, Registry::Private(nameless).into());
    let error = test.ask(STRANGER, nameless).await.unwrap_err();
    assert_eq!((error.reason(), error.to_string().contains("name the account")), ("REQUEST_INVALID", true));
    assert_eq!(test.calls(), (0, 0));
    test.ask(STRANGER, credential_request(HOST, 7 * MINUTE)).await.unwrap();
    test.ask(FARM, credential_request(HOST, 9 * HOUR)).await.unwrap();
}

#[tokio::test]
async fn accounts_of_an_identity_share_tokens_of_the_same_lifetime_alone() {
    let test = ShortLived::start_with(policy(), |source, clock| {
        IdentityTokens::start(source, SharedKeys::new(&[]), &cache_settings(), clock)
    })
    .await;
    let ids = async |uid| {
        let [one, two] = [host(1), host(2)];
        let (one, two) = (test.get(uid, &one).await.unwrap(), test.get(uid, &two).await.unwrap());
        assert_eq!(one.found.credential.account().unwrap().to_string(), format!("{:012}", 1));
        (one.found.credential.id(), two.found.credential.id())
    };
    let (short, long) = (ids(STRANGER).await, ids(FARM).await);
    assert!(short.0 == short.1 && long.0 == long.1 && short.0 != long.0);
}

/// A list shows a caller the expiry of the credential that it would get, not of another grant's.
#[tokio::test]
async fn list_shows_the_expiry_of_the_callers_own_lifetime() {
    let test = ShortLived::start().await;
    let expiry = |uid| {
        let page = test.broker.registries(&Caller::Process { uid, gid: 1 }, None, 10);
        page.entries.iter().find(|(listing, _)| listing.name == HOST).and_then(|(_, expires)| *expires)
    };
    let long = test.get(FARM, HOST).await.unwrap();
    assert_eq!((expiry(STRANGER), expiry(FARM)), (None, Some(long.found.credential.expires())));
    let short = test.get(STRANGER, HOST).await.unwrap();
    assert_eq!(expiry(STRANGER), Some(short.found.credential.expires()));
    assert_eq!(expiry(FARM), Some(long.found.credential.expires()));
}

/// The first allow decides, so that the order of two grants decides about the lifetime too.
#[tokio::test]
async fn first_grant_that_covers_a_request_decides_about_its_lifetime() {
    let limit = Lifetime::new(QUARTER);
    for (first, second, expected) in [(limit, None, QUARTER), (None, limit, 12 * HOUR)] {
        let policy = Policy::Grants(vec![grant("first", FARM, first), grant("second", FARM, second)]);
        let test = ShortLived::start_with(policy, |source, _| source).await;
        assert_eq!(remaining(&test, &test.get(FARM, HOST).await.unwrap()), expected);
    }
    let observed = Policy::Observed(vec![grant("strangers", STRANGER, limit)]);
    let test = ShortLived::start_with(observed, |source, _| source).await;
    assert_eq!(remaining(&test, &test.get(FARM, HOST).await.unwrap()), 12 * HOUR, "an observed denial has no limit");
    assert_eq!(remaining(&test, &test.get(STRANGER, HOST).await.unwrap()), QUARTER);
}
