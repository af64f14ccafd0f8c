//! `cache.token_scope = "identity"`: the accounts of an identity share one token, and nothing else.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::duration_suboptimal_units, reason = "a test may")]

mod support;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ecr_broker::app::{App, Parts};
use ecr_broker::audit::Output;
use ecr_broker::cache::{CacheStatus, CredentialCache, Found, IdentityTokens, Lookup, SharedKeys, TokenScope};
use ecr_broker::caller::{Caller, Principal};
use ecr_broker::clock::SystemClock;
use ecr_broker::credential::{CredentialId, CredentialKey};
use ecr_broker::error::{BrokerError, FailureClass, UpstreamError};
use ecr_broker::pb;
use ecr_broker::pb::batch_result::Result as Outcome;
use ecr_broker::pb::registry_access::Target as Listed;
use ecr_broker::policy::Policy;
use ecr_broker::simulator::{self, Service, Simulator};
use futures_util::future::join_all;
use support::*;

const ACCOUNTS: usize = 1_000;

/// A cache whose accounts share tokens, over a scripted source.
struct Shared {
    cache: CredentialCache,
    source: Arc<ScriptedSource>,
    clock: Arc<ManualClock>,
}

impl Shared {
    fn new() -> Self {
        Self::with_clock(ManualClock::new())
    }

    fn with_clock(clock: Arc<ManualClock>) -> Self {
        let source = ScriptedSource::new(&clock);
        let keys = SharedKeys::new(&[]);
        let layer = IdentityTokens::start(source.clone(), keys, &cache_settings(), clock.clone());
        Self { cache: cache(cache_settings(), layer, clock.clone()), source, clock }
    }

    async fn get(&self, lookup: Lookup) -> Result<Found, BrokerError> {
        self.cache.get(lookup).await
    }

    async fn id(&self, account: usize) -> CredentialId {
        self.get(lookup(&host(account))).await.unwrap().credential.id()
    }

    async fn reject(&self, account: usize, rejected: CredentialId) -> Result<CredentialId, BrokerError> {
        Ok(self.get(lookup_rejecting(&host(account), rejected)).await?.credential.id())
    }

    /// Reads every account twice: the first read starts the refreshes that are due.
    async fn read_all(&self, accounts: usize) -> Vec<Found> {
        join_all((0..accounts).map(|account| self.get(lookup(&host(account))))).await;
        self.cache.wait_for_fetches(HOUR).await;
        join_all((0..accounts).map(|account| async move { self.get(lookup(&host(account))).await.unwrap() })).await
    }
}

fn class(error: BrokerError) -> FailureClass {
    match error {
        BrokerError::Upstream(failure) => failure.class,
        error => panic!("{error:?}"),
    }
}

fn ids(found: &[Found]) -> BTreeSet<CredentialId> {
    found.iter().map(|found| found.credential.id()).collect()
}

#[tokio::test(start_paused = true)]
async fn p1_thousand_accounts_of_a_region_need_one_call() {
    let shared = Shared::new();
    shared.source.delay(Duration::from_millis(200));
    let found = shared.read_all(ACCOUNTS).await;
    assert_eq!((shared.source.calls(), ids(&found).len()), (1, 1));
    let request = shared.source.last_request();
    assert_eq!(request.key.registry.account(), None, "AWS is not asked for one of the accounts");
    for (account, found) in found.iter().enumerate() {
        assert_eq!(found.credential.account().unwrap().to_string(), format!("{account:012}"));
    }
    // Later accounts too, and one call more for each region and endpoint variant.
    shared.id(ACCOUNTS).await;
    assert_eq!(shared.source.calls(), 1);
    for host in ["1.dkr.ecr.eu-west-1.amazonaws.com", "1.dkr.ecr-fips.us-east-1.amazonaws.com"] {
        shared.get(lookup(&host.replacen('1', "000000000001", 1))).await.unwrap();
    }
    shared.get(lookup("public.ecr.aws")).await.unwrap();
    assert_eq!(shared.source.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn p4_refresh_of_a_thousand_accounts_needs_one_call() {
    let shared = Shared::new();
    let first = ids(&shared.read_all(ACCOUNTS).await);
    for hours in 1..=3 {
        shared.clock.advance(HOUR + 10 * MINUTE);
        let found = shared.read_all(ACCOUNTS).await;
        assert_eq!((shared.source.calls(), ids(&found).len()), (1 + hours, 1));
        assert!(ids(&found).is_disjoint(&first) && found.iter().all(|found| found.status == CacheStatus::Hit));
    }
}

/// AWS returns the token that it returned before: no account's refresh may call it for that.
#[tokio::test(start_paused = true)]
async fn same_token_again_is_fetched_once_for_all_accounts() {
    let shared = Shared::new();
    shared.source.then(Step::SameToken(12 * HOUR));
    shared.read_all(ACCOUNTS).await;
    shared.clock.advance(HOUR + 10 * MINUTE);
    shared.read_all(ACCOUNTS).await;
    shared.read_all(ACCOUNTS).await;
    assert_eq!(shared.source.calls(), 2);
}

/// A copy of the cache outlives the process, and the shared token does not.
#[tokio::test(start_paused = true)]
async fn p15_accounts_of_the_process_before_need_one_call_to_refresh() {
    let before = Shared::new();
    let old = ids(&before.read_all(100).await);
    let after = Shared::with_clock(before.clock.clone());
    for kept in before.cache.kept() {
        after.cache.put_back(kept).await.unwrap();
    }
    assert_eq!((ids(&after.read_all(100).await), after.source.calls()), (old, 0));
    after.clock.advance(HOUR + 10 * MINUTE);
    let new = ids(&after.read_all(100).await);
    assert_eq!((new.len(), after.source.calls()), (1, 1));
}

#[tokio::test]
async fn accounts_that_are_kept_warm_need_one_call() {
    let hosts: Vec<_> = (0..20).map(|account| host(account).parse().unwrap()).collect();
    let broker = TestBroker::start_with(|setup| {
        setup.config.token_scope = TokenScope::Identity;
        setup.config.keep_warm = hosts.clone();
    });
    broker.broker.until_warm(&hosts).await;
    assert_eq!((broker.cache.cached_count(), broker.source.calls()), (20, 1));
}

#[tokio::test(start_paused = true)]
async fn rejected_token_is_replaced_for_its_account_and_others_keep_it() {
    let shared = Shared::new();
    let [first, kept] = [shared.id(1).await, shared.id(2).await];
    assert_eq!(first, kept);
    let second = shared.reject(1, first).await.unwrap();
    assert_ne!(second, first);
    assert_eq!((shared.id(1).await, shared.id(2).await, shared.source.calls()), (second, first, 2));
    // The account that rejects the first token next finds the second one.
    assert_eq!((shared.reject(2, first).await, shared.id(3).await), (Ok(second), second));
    assert_eq!(shared.source.calls(), 2);
    // At most one such call a minute, whichever account rejects.
    for account in [3, 4] {
        shared.id(account).await;
        let error = shared.reject(account, second).await.unwrap_err();
        assert!(error.retry_after().is_some_and(|delay| delay <= MINUTE), "{error:?}");
        assert_eq!(class(error), FailureClass::InvalidResponse);
    }
    assert_eq!((shared.id(5).await, shared.source.calls()), (second, 2), "an account that did not reject it");
    shared.clock.advance(MINUTE);
    let third = shared.reject(3, second).await.unwrap();
    assert_eq!((shared.source.calls(), shared.id(1).await), (3, second));
    assert!(![first, second].contains(&third));
}

/// The account forgot its credential after it rejected it, and no other could be had.
#[tokio::test(start_paused = true)]
async fn rejected_token_is_not_returned_to_its_account_again() {
    let shared = Shared::new();
    let layer =
        IdentityTokens::start(shared.source.clone(), SharedKeys::new(&[]), &cache_settings(), shared.clock.clone());
    let new_cache = || cache(cache_settings(), layer.clone(), shared.clock.clone());
    let first = new_cache().get(lookup(&host(1))).await.unwrap().credential.id();
    shared.source.fail(FailureClass::Unavailable);
    new_cache().get(lookup_rejecting(&host(1), first)).await.unwrap_err();
    shared.source.then(Step::Token(12 * HOUR));
    assert_eq!(new_cache().get(lookup(&host(2))).await.unwrap().credential.id(), first);
    new_cache().get(lookup(&host(1))).await.unwrap_err();
    shared.clock.advance(MINUTE);
    assert_ne!(new_cache().get(lookup(&host(1))).await.unwrap().credential.id(), first);
}

#[tokio::test(start_paused = true)]
async fn p6_failure_of_one_account_is_the_failure_of_all() {
    let shared = Shared::new();
    let failure = UpstreamError { retry_after: Some(MINUTE), ..UpstreamError::aws(FailureClass::Throttled) };
    shared.source.then(Step::Fail(failure));
    let errors = join_all((0..100).map(|account| shared.get(lookup(&host(account))))).await;
    assert_eq!(shared.source.calls(), 1);
    for error in errors.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.retry_after(), Some(MINUTE), "{error:?}");
        assert_eq!(class(error), FailureClass::Throttled);
    }
    shared.source.then(Step::Token(12 * HOUR));
    shared.clock.advance(MINUTE);
    shared.read_all(100).await;
    assert_eq!(shared.source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn p5_failed_refresh_leaves_every_account_stale_and_a_denial_none() {
    let shared = Shared::new();
    shared.read_all(100).await;
    shared.clock.advance(HOUR + 10 * MINUTE);
    shared.source.fail(FailureClass::Unavailable);
    let stale = shared.read_all(100).await;
    assert!(stale.iter().all(|found| found.status == CacheStatus::Stale));
    assert_eq!(shared.source.calls(), 2);
    assert_eq!(ids(&stale).iter().next(), Some(&shared.id(100).await), "a new account gets the old token");
    shared.clock.advance(MINUTE);
    shared.source.fail(FailureClass::Denied);
    join_all((0..101).map(|account| shared.get(lookup(&host(account))))).await;
    shared.cache.wait_for_fetches(HOUR).await;
    for account in 0..102 {
        assert_eq!(class(shared.get(lookup(&host(account))).await.unwrap_err()), FailureClass::Denied, "{account}");
    }
    assert_eq!(shared.source.calls(), 3);
}

/// Accounts read and reject in any order, AWS fails, and time passes. However many accounts there are, one instant has at most two
/// calls: a fetch, and the replacement of its token.
#[tokio::test(start_paused = true)]
async fn any_order_of_reads_rejections_and_failures_keeps_the_promises() {
    const STEPS: [Duration; 5] =
        [Duration::from_millis(600), Duration::from_secs(20), MINUTE, Duration::from_mins(40), Duration::from_mins(70)];
    for seed in 0..100 {
        let (mut random, shared) = (fastrand::Rng::with_seed(seed), Shared::new());
        let mut rejected: HashMap<usize, HashSet<CredentialId>> = HashMap::new();
        let mut calls = 0;
        for _ in 0..200 {
            let account = random.usize(0..12);
            match random.u8(0..10) {
                0..=5 => {
                    let Ok(found) = shared.get(lookup(&host(account))).await else { continue };
                    assert!(found.remaining >= 5 * MINUTE, "seed {seed}");
                    let id = found.credential.id();
                    assert!(!rejected.get(&account).is_some_and(|ids| ids.contains(&id)), "seed {seed}: given again");
                }
                6..=7 => {
                    let Ok(found) = shared.get(lookup(&host(account))).await else { continue };
                    let id = found.credential.id();
                    let Ok(other) = shared.reject(account, id).await else { continue };
                    assert_ne!(other, id, "seed {seed}");
                    rejected.entry(account).or_default().insert(id);
                }
                8 => {
                    shared.clock.advance(STEPS[random.usize(0..STEPS.len())]);
                    calls = shared.source.calls();
                }
                _ => shared.source.then(match random.u8(0..6) {
                    0 => Step::Fail(UpstreamError::aws(FailureClass::Unavailable)),
                    1 => Step::Fail(UpstreamError::aws(FailureClass::Throttled)),
                    2 => Step::Fail(UpstreamError::aws(FailureClass::Denied)),
                    _ => Step::Token(12 * HOUR),
                }),
            }
            shared.cache.wait_for_fetches(HOUR).await;
            assert!(shared.source.calls() <= calls + 2, "seed {seed}: {} calls", shared.source.calls() - calls);
        }
        assert_eq!(shared.source.most_in_flight(), 1);
    }
}

/// A fetch queues in the lanes of all accounts' callers, not in that of the one that came first.
#[tokio::test(start_paused = true)]
async fn fetch_has_the_requesters_of_all_accounts() {
    let shared = Shared::new();
    shared.source.shut();
    let caller = |uid| Caller::Process { uid, gid: 0 };
    let gets = (1..=3).map(|uid| {
        let of = Lookup { caller: Some(caller(uid)), ..lookup(&host(1_000 + uid as usize)) };
        let cache = shared.cache.clone();
        tokio::spawn(async move { cache.get(of).await.unwrap() })
    });
    let gets: Vec<_> = gets.collect();
    shared.source.until_calls(1).await;
    let mut requesters = shared.source.last_request().progress.requesters();
    requesters.wait_for(|requesters| requesters.len() == 3).await.unwrap();
    let expected: BTreeSet<_> = (1..=3).map(|uid| Some(Principal::Uid(uid))).collect();
    assert_eq!(requesters.borrow().iter().cloned().collect::<BTreeSet<_>>(), expected);
    shared.source.open();
    for get in gets {
        get.await.unwrap();
    }
    assert_eq!((shared.source.calls(), shared.source.most_in_flight()), (1, 1));
}

#[tokio::test]
async fn answers_lists_and_audit_records_are_of_each_account() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = TestBroker::start_as(Policy::Open, Some(&Output::File(file.clone())), |setup| {
        setup.config.token_scope = TokenScope::Identity;
    });
    let hosts: BTreeSet<_> = (1..=100).map(host).collect();
    let requests = hosts.iter().map(|host| request(host)).collect();
    let batch = pb::BatchGetRegistryCredentialsRequest { requests };
    let mut client = broker.client().await;
    let results = client.batch_get_registry_credentials(batch).await.unwrap().into_inner().results;
    let mut passwords = BTreeSet::new();
    for (host, result) in hosts.iter().zip(results) {
        let Some(Outcome::Credentials(credentials)) = result.result else { panic!("{result:?}") };
        assert_eq!((&credentials.registry, &credentials.account_id), (host, &host[..12].to_owned()));
        assert_eq!(credentials.endpoint, format!("https://{host}"));
        passwords.insert(credentials.password);
    }
    assert_eq!((broker.source.calls(), passwords.len()), (1, 1));
    let records = std::fs::read_to_string(&file).unwrap();
    let registries: BTreeSet<_> = records
        .lines()
        .filter_map(|line| Some(serde_json::from_str::<serde_json::Value>(line).ok()?["registry"].as_str()?.to_owned()))
        .collect();
    assert_eq!(registries, hosts);
    let page = pb::ListRegistriesRequest { page_size: 1_000, ..Default::default() };
    let listed = client.list_registries(page).await.unwrap().into_inner().registries;
    let cached = listed.into_iter().filter_map(|access| match access.target {
        Some(Listed::Registry(host)) if access.expire_time.is_some() => Some(host),
        _ => None,
    });
    assert_eq!(cached.collect::<BTreeSet<_>>(), hosts, "one entry for each account, and none for the shared token");
    assert_eq!(broker.cache.cached_count(), 100);
}

/// Over AWS's real wire protocol: the call names no account, and AWS returns a token of the identity's own account.
#[tokio::test]
async fn thousand_accounts_cost_one_call_of_the_aws_api() {
    let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), simulator::Settings::default()).await.unwrap();
    let (endpoint, controls) = (format!("http://{}", simulator.address()), simulator.controls());
    tokio::spawn(simulator.run_until(std::future::pending()));
    let directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(&cache_settings(), directory.path());
    setup.config.aws.ecr_endpoint = Some(endpoint.clone());
    setup.config.aws.sts_endpoint = Some(endpoint);
    setup.config.aws.simulated_credentials = true;
    setup.config.token_scope = TokenScope::Identity;
    let app = Box::pin(App::build(setup.config, Parts::new(Arc::new(SystemClock::new())))).await.unwrap();
    let broker = app.broker();
    let released = join_all((0..ACCOUNTS).map(|account| {
        let request = credential_request(&host(account), Duration::ZERO);
        async { broker.registry_credentials(request).await.unwrap() }
    }));
    let released = released.await;
    assert_eq!((controls.calls(), controls.calls_to(Service::Ecr, "eu-central-1")), (1, 1));
    for (account, released) in released.iter().enumerate() {
        assert_eq!(released.host, host(account));
        assert_eq!(released.account.unwrap().to_string(), format!("{account:012}"));
    }
    let ids: BTreeSet<_> = released.iter().map(|released| released.found.credential.id()).collect();
    let keys: BTreeSet<_> = released.iter().map(|released: &_| -> &CredentialKey { &released.key }).collect();
    assert_eq!((ids.len(), keys.len()), (1, ACCOUNTS));
}
