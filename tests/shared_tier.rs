//! Shared cache: what several brokers do with one tier, whose storage is in memory. `tests/shared_cache.rs` has the real ones.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::duration_suboptimal_units, reason = "a test may")]

mod support;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64;
use ecr_broker::cache::{CacheStatus, CredentialCache, Found};
use ecr_broker::clock::Clock;
use ecr_broker::credential::{Credential, CredentialKey, Lifetime, SourceName};
use ecr_broker::error::{BrokerError, FailureClass, UpstreamError};
use ecr_broker::metrics::{Exposition, Format, Registry};
use ecr_broker::source::shared_cache::entry_key::{EntryKeys, EntryName, EntryParts};
use ecr_broker::source::shared_cache::key_ring::KeyRing;
use ecr_broker::source::shared_cache::keys::Keys;
use ecr_broker::source::shared_cache::memory::MemoryTier;
use ecr_broker::source::shared_cache::tier::{LEASE_TTL, LeaseOwner, Tier, TierAnswer, TierError, etag};
use ecr_broker::source::shared_cache::{Metrics, SharedCache};
use ecr_broker::source::{CredentialSource, FetchRequest, SourceFuture};
use futures_util::future::join_all;
use support::{
    HOST, HOUR, MINUTE, ManualClock, ScriptedSource, Step, cache_settings, fetch_request, host, key, lookup,
    lookup_lasting, lookup_rejecting,
};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// Answers depend on their keys alone.
#[derive(Debug)]
struct ByKey;

impl EntryKeys for ByKey {
    fn parts(&self, key: &CredentialKey) -> Option<EntryParts> {
        Some(EntryParts {
            service: "ecr",
            partition: "aws",
            account: key.registry.host()?,
            region: String::new(),
            endpoint: String::new(),
            identity: "role".to_owned(),
            session_policy: String::new(),
            attribution: String::new(),
        })
    }
}

/// Returns the keys file of a broker; the first seal key seals.
fn keys(seals: &[u8]) -> Keys {
    let line = |word, byte| format!("{word} {}\n", BASE64.encode(&[byte; 32]));
    let seals: String = seals.iter().map(|byte| line("seal", *byte)).collect();
    Keys::parse((line("names", 9) + &seals).as_bytes()).unwrap()
}

/// Brokers that share a tier and call one source.
struct Fleet {
    clock: Arc<ManualClock>,
    source: Arc<ScriptedSource>,
    tier: Arc<MemoryTier>,
    metrics: Metrics,
    exposition: Exposition,
}

struct Replica {
    cache: CredentialCache,
    layer: Arc<SharedCache<Arc<ScriptedSource>>>,
    ring: Arc<KeyRing>,
}

impl Fleet {
    /// A source whose calls take a while, so that replicas meet.
    fn new() -> Self {
        let clock = ManualClock::new();
        let source = ScriptedSource::new(&clock);
        source.delay(Duration::from_millis(150));
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        Self { clock, source, tier: Arc::default(), metrics, exposition: Exposition::new(registry) }
    }

    fn replica(&self) -> Replica {
        self.replica_with(&keys(&[1]), &self.clock)
    }

    fn replica_with(&self, keys: &Keys, clock: &Arc<ManualClock>) -> Replica {
        let ring = Arc::new(KeyRing::new(keys).unwrap());
        let (tier, clock) = (Arc::clone(&self.tier) as Arc<dyn Tier>, Arc::clone(clock) as Arc<dyn Clock>);
        let (source, metrics) = (Arc::clone(&self.source), self.metrics.clone());
        let layer =
            Arc::new(SharedCache::new(source, tier, Arc::clone(&ring), Arc::new(ByKey), Arc::clone(&clock), metrics));
        let cache = support::cache(cache_settings(), Arc::clone(&layer) as Arc<dyn CredentialSource>, clock);
        Replica { cache, layer, ring }
    }

    fn replicas(&self, count: usize) -> Vec<Replica> {
        (0..count).map(|_| self.replica()).collect()
    }

    /// Returns the only entry of the tier.
    fn entry(&self) -> (EntryName, Vec<u8>) {
        let values = self.tier.values();
        assert_eq!(values.len(), 1);
        values[0].clone()
    }

    /// Returns a series of the metrics.
    fn count(&self, series: &str) -> u64 {
        let text = self.exposition.encode(Format::Prometheus);
        let line =
            text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("{series}: {text}"));
        line.trim().parse().unwrap()
    }

    fn fetches(&self, outcome: &str) -> u64 {
        self.count(&format!("ecr_broker_shared_cache_fetches_total{{outcome=\"{outcome}\"}}"))
    }

    fn refused(&self, reason: &str) -> u64 {
        self.count(&format!("ecr_broker_shared_cache_values_refused_total{{reason=\"{reason}\"}}"))
    }

    fn advance(&self, time: Duration) -> impl Future<Output = ()> {
        self.clock.advance(time);
        tokio::time::advance(time)
    }
}

impl Replica {
    async fn get(&self, host: &str) -> Result<Found, BrokerError> {
        self.cache.get(lookup(host)).await
    }

    /// Starts a fetch that a test can cancel, as the cache does at the deadline.
    fn start_fetch(&self, request: FetchRequest) -> tokio::task::JoinHandle<Result<Credential, UpstreamError>> {
        let layer = Arc::clone(&self.layer);
        tokio::spawn(async move { layer.fetch(&request).await.map_err(support::upstream) })
    }
}

async fn get_all(replicas: &[Replica], host: &str) -> Vec<Result<Found, BrokerError>> {
    join_all(replicas.iter().map(|replica| replica.get(host))).await
}

/// Returns the credential that all replicas have.
fn shared(results: &[Result<Found, BrokerError>]) -> String {
    let id = |result: &Result<Found, BrokerError>| result.as_ref().unwrap().credential.id();
    let first = id(&results[0]);
    assert!(results.iter().all(|result| id(result) == first), "the replicas have different credentials");
    first.to_string()
}

#[tokio::test(start_paused = true)]
async fn p1_thirty_cold_replicas_make_one_call() {
    let fleet = Fleet::new();
    let replicas = fleet.replicas(30);
    let results = get_all(&replicas, HOST).await;
    shared(&results);
    assert_eq!(fleet.source.calls(), 1);
    let found: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    let shared = found.iter().filter(|found| *found.credential.source() == SourceName::SharedCache).count();
    assert_eq!((shared, fleet.fetches("found"), fleet.fetches("stored")), (29, 29, 1));
    assert!(
        found.iter().all(
            |found| found.status == CacheStatus::Miss && found.remaining > (12 * HOUR).checked_sub(SECOND).unwrap()
        )
    );
    assert_eq!(fleet.tier.values().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn fresh_replicas_are_served_while_the_source_is_down() {
    let fleet = Fleet::new();
    fleet.replica().get(HOST).await.unwrap();
    fleet.source.fail(FailureClass::Unavailable);
    fleet.advance(5 * HOUR).await;
    let results = get_all(&fleet.replicas(30), HOST).await;
    shared(&results);
    assert_eq!(fleet.source.calls(), 1);
    assert_eq!(results[0].as_ref().unwrap().remaining, 7 * HOUR, "the validity is not based on the receipt");
}

#[tokio::test(start_paused = true)]
async fn lease_of_a_dead_replica_passes_on_within_half_a_second_of_its_end() {
    let fleet = Fleet::new();
    fleet.source.shut();
    let dead = fleet.replica().start_fetch(fetch_request(key(HOST)));
    fleet.source.until_calls(1).await;
    dead.abort();
    assert!(dead.await.unwrap_err().is_cancelled());
    fleet.source.open();
    let started = Instant::now();
    shared(&get_all(&fleet.replicas(30), HOST).await);
    let waited = started.elapsed().checked_sub(Duration::from_millis(150)).unwrap();
    assert!(waited <= LEASE_TTL + SECOND / 2, "{waited:?}");
    assert_eq!(fleet.source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn throttled_fill_makes_one_call_and_the_others_fail_with_its_delay() {
    for class in [FailureClass::Throttled, FailureClass::Unavailable] {
        let fleet = Fleet::new();
        let delay = Duration::from_secs(3);
        fleet.source.then(Step::Fail(UpstreamError { retry_after: Some(delay), ..UpstreamError::aws(class) }));
        let started = Instant::now();
        for result in get_all(&fleet.replicas(30), HOST).await {
            let BrokerError::Upstream(failure) = result.unwrap_err() else { panic!("another error") };
            assert_eq!((failure.class, failure.retry_after), (class, Some(delay)));
        }
        assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
        assert_eq!((fleet.source.calls(), fleet.fetches("peer_failed")), (1, 29));
        // The note ends, and one replica asks again.
        fleet.source.then(Step::Token(12 * HOUR));
        fleet.advance(delay).await;
        shared(&get_all(&fleet.replicas(30), HOST).await);
        assert_eq!(fleet.source.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn failure_that_can_be_one_brokers_own_is_not_noted() {
    let fleet = Fleet::new();
    fleet.source.fail(FailureClass::NoCredentials);
    assert!(fleet.replica().get(HOST).await.is_err());
    fleet.source.then(Step::Token(12 * HOUR));
    let started = Instant::now();
    fleet.replica().get(HOST).await.unwrap();
    assert!(started.elapsed() < SECOND, "the lease was released");
    let queue_full = Step::QueueFull(SECOND);
    fleet.source.then(queue_full);
    assert!(fleet.replica().get(&host(1)).await.is_err());
    fleet.source.then(Step::Token(12 * HOUR));
    fleet.replica().get(&host(1)).await.unwrap();
    assert!(started.elapsed() < SECOND, "the lease was released");
}

/// Returns a value that a broker could find, made from the good one of its key and that of another key.
type Spoil = fn(&[u8], &[u8]) -> Vec<u8>;

#[tokio::test(start_paused = true)]
async fn value_that_cannot_be_used_is_healed_with_one_call() {
    let spoils: [(Spoil, &str); 9] = [
        (|_, other| other.to_vec(), "changed"),
        (|value, _| value[..value.len() - 1].to_vec(), "changed"),
        (|value, _| value[..21].to_vec(), "changed"),
        (|value, _| value[..19].to_vec(), "unknown_format"),
        (|value, _| value[..9].to_vec(), "unknown_format"),
        (|value, _| value[..8].to_vec(), "unknown_format"),
        (|_, _| Vec::new(), "unknown_format"),
        (|value, _| [b"EB0", &value[3..]].concat(), "unknown_format"),
        (|value, _| [&value[..4], b"\x01\x02\x03\x04", &value[8..]].concat(), "unknown_key"),
    ];
    for (number, (spoil, reason)) in spoils.into_iter().enumerate() {
        let fleet = Fleet::new();
        fleet.replica().get(&host(1)).await.unwrap();
        let (_, other) = fleet.entry();
        fleet.replica().get(HOST).await.unwrap();
        let (entry, value) = fleet.tier.values().into_iter().find(|(_, value)| *value != other).unwrap();
        fleet.tier.overwrite(&entry, &spoil(&value, &other));
        let results = get_all(&fleet.replicas(30), HOST).await;
        shared(&results);
        assert_eq!(fleet.source.calls(), 3, "spoil {number}");
        assert!(fleet.refused(reason) >= 1, "spoil {number}");
        shared(&get_all(&fleet.replicas(30), HOST).await);
        assert_eq!(fleet.source.calls(), 3, "spoil {number} is healed");
    }
}

#[tokio::test(start_paused = true)]
async fn value_of_an_unknown_key_is_healed_and_both_brokers_are_served() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.replica(), fleet.replica_with(&keys(&[2]), &fleet.clock));
    one.get(HOST).await.unwrap();
    other.get(HOST).await.unwrap();
    assert_eq!((fleet.source.calls(), fleet.refused("unknown_key")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn older_value_that_is_put_back_replaces_nothing() {
    let fleet = Fleet::new();
    let replicas = fleet.replicas(2);
    get_all(&replicas, HOST).await;
    let (entry, older) = fleet.entry();
    fleet.advance(7 * HOUR).await;
    for replica in &replicas {
        replica.get(HOST).await.unwrap();
    }
    sleep(SECOND).await;
    let newer = shared(&get_all(&replicas, HOST).await);
    assert_eq!(fleet.source.calls(), 2);
    fleet.advance(2 * HOUR).await;
    fleet.tier.overwrite(&entry, &older);
    for replica in &replicas {
        assert_eq!(replica.get(HOST).await.unwrap().credential.id().to_string(), newer);
    }
    sleep(SECOND).await;
    assert_ne!(shared(&get_all(&replicas, HOST).await), newer);
    assert_eq!(fleet.source.calls(), 3, "the older value was replaced, and not taken");
    // One that has expired is not even taken by a fresh replica.
    fleet.advance(4 * HOUR).await;
    fleet.tier.overwrite(&entry, &older);
    fleet.replica().get(HOST).await.unwrap();
    assert_eq!((fleet.source.calls(), fleet.refused("expired")), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn rotation_in_three_steps_over_ten_replicas_misses_nothing() {
    let fleet = Fleet::new();
    let replicas = fleet.replicas(10);
    let mut hosts = 0_usize;
    get_all(&replicas, HOST).await;
    for seals in [&[1, 2][..], &[2, 1], &[2]] {
        for replica in &replicas {
            replica.ring.replace(&keys(seals)).unwrap();
            // A value of a broker that is one step apart is used, and so is that of one that is not.
            hosts += 1;
            let results = get_all(&replicas, &host(hosts)).await;
            shared(&results);
        }
        assert_eq!(fleet.source.calls(), 1 + u64::try_from(hosts).unwrap(), "each new key is fetched once");
        // The old key's values have expired, or were refreshed.
        fleet.advance(12 * HOUR).await;
    }
    assert_eq!((fleet.refused("unknown_key"), fleet.fetches("alone")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn value_of_a_clock_that_is_ahead_costs_the_fleet_one_call() {
    let fleet = Fleet::new();
    fleet.replica().get(HOST).await.unwrap();
    // From here on, the clock of the broker that stored the value was six minutes ahead.
    fleet.clock.step_wall_back(6 * MINUTE);
    shared(&get_all(&fleet.replicas(30), HOST).await);
    assert_eq!((fleet.source.calls(), fleet.refused("clock") >= 1), (2, true));
    shared(&get_all(&fleet.replicas(30), HOST).await);
    assert_eq!(fleet.source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn cancelled_fetch_stores_nothing_and_its_lease_ends() {
    let fleet = Fleet::new();
    fleet.source.shut();
    let replica = fleet.replica();
    let request = fetch_request(key(HOST));
    let abandoned = timeout(5 * SECOND, replica.layer.fetch(&request)).await;
    assert!(abandoned.is_err());
    fleet.source.open();
    sleep(LEASE_TTL).await;
    assert!(fleet.tier.values().is_empty());
    replica.get(HOST).await.unwrap();
    assert_eq!(fleet.source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn value_is_not_stored_after_an_invalidation_during_its_fetch() {
    let fleet = Fleet::new();
    let filling = fleet.replica().start_fetch(fetch_request(key(HOST)));
    fleet.source.until_calls(1).await;
    // The entry's name is in no listing before it has a value: another entry of the same key tells it.
    let (name, owner) = (entry_name(&fleet).await, LeaseOwner::random());
    fleet.tier.invalidate(&name, None).await.unwrap();
    assert_eq!(fleet.tier.get_or_lease(&name, &owner, None).await, Ok(TierAnswer::Leased));
    assert!(filling.await.unwrap().is_ok(), "the caller is served");
    assert!(fleet.tier.values().is_empty());
    assert_eq!(fleet.fetches("not_stored"), 1);
}

/// Returns the name of the entry of [`HOST`].
async fn entry_name(fleet: &Fleet) -> EntryName {
    let other = Fleet { tier: Arc::default(), source: ScriptedSource::new(&fleet.clock), ..Fleet::new() };
    other.replica().get(HOST).await.unwrap();
    other.entry().0
}

#[tokio::test(start_paused = true)]
async fn long_fetch_keeps_its_lease() {
    let fleet = Fleet::new();
    fleet.source.delay(8 * LEASE_TTL);
    let fetches = fleet.replicas(30).into_iter().map(|replica| replica.start_fetch(fetch_request(key(HOST))));
    for fetch in join_all(fetches).await {
        fetch.unwrap().unwrap();
    }
    assert_eq!(fleet.source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn fetch_stops_waiting_at_three_quarters_of_its_time_and_stores_nothing() {
    let fleet = Fleet::new();
    fleet.source.shut();
    let holder = fleet.replica().start_fetch(fetch_request(key(HOST)));
    fleet.source.until_calls(1).await;
    let deadline = Instant::now() + 40 * SECOND;
    let waiting = fleet.replica().start_fetch(FetchRequest { deadline, ..fetch_request(key(HOST)) });
    fleet.source.until_calls(2).await;
    let left = deadline - Instant::now();
    assert!(left >= 10 * SECOND && left <= 11 * SECOND, "{left:?}");
    fleet.source.open();
    assert_eq!(waiting.await.unwrap().unwrap().source(), &SourceName::Aws);
    holder.await.unwrap().unwrap();
    assert_eq!((fleet.fetches("alone"), fleet.fetches("stored")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn broken_tier_is_the_behaviour_without_a_tier() {
    for error in [TierError::Unavailable, TierError::BreakerOpen] {
        let fleet = Fleet::new();
        fleet.tier.set_outage(Some(error));
        let results = get_all(&fleet.replicas(30), HOST).await;
        assert!(results.iter().all(|result| *result.as_ref().unwrap().credential.source() == SourceName::Aws));
        assert_eq!((fleet.source.calls(), fleet.fetches("alone")), (30, 30));
        fleet.tier.set_outage(None);
        shared(&get_all(&fleet.replicas(30), HOST).await);
        assert_eq!(fleet.source.calls(), 31, "it recovers");
    }
}

#[tokio::test(start_paused = true)]
async fn tier_that_breaks_during_a_fetch_fails_no_caller() {
    let fleet = Fleet::new();
    fleet.source.delay(SECOND);
    let replicas = fleet.replicas(5);
    let broken = async {
        sleep(SECOND / 2).await;
        fleet.tier.set_outage(Some(TierError::Unavailable));
    };
    let (results, ()) = tokio::join!(get_all(&replicas, HOST), broken);
    assert!(results.iter().all(Result::is_ok));
    assert_eq!((fleet.source.calls(), fleet.fetches("not_stored"), fleet.fetches("alone")), (5, 1, 4));
}

#[tokio::test(start_paused = true)]
async fn refresh_takes_the_newer_credential_of_another_broker() {
    let fleet = Fleet::new();
    let replicas = fleet.replicas(30);
    let first = shared(&get_all(&replicas, HOST).await);
    fleet.advance(2 * HOUR).await;
    for result in get_all(&replicas, HOST).await {
        assert_eq!(result.unwrap().credential.id().to_string(), first, "a refresh delays no caller");
    }
    sleep(SECOND).await;
    assert_ne!(shared(&get_all(&replicas, HOST).await), first);
    assert_eq!(fleet.source.calls(), 2, "one of the replicas called the source");
}

#[tokio::test(start_paused = true)]
async fn p4_hits_are_served_while_a_refresh_waits_for_another_brokers_lease() {
    let fleet = Fleet::new();
    let replica = fleet.replica();
    let first = replica.get(HOST).await.unwrap().credential.id();
    let (entry, value) = fleet.entry();
    let owner = LeaseOwner::random();
    let leased = fleet.tier.get_or_lease(&entry, &owner, etag(&value)).await;
    assert_eq!(leased, Ok(TierAnswer::Leased));
    fleet.advance(2 * HOUR).await;
    assert_eq!(fleet.tier.get_or_lease(&entry, &owner, etag(&value)).await, Ok(TierAnswer::Leased));
    for _ in 0..4 {
        let began = Instant::now();
        let found = replica.get(HOST).await.unwrap();
        assert_eq!((found.credential.id(), found.status, began.elapsed()), (first, CacheStatus::Hit, Duration::ZERO));
        sleep(SECOND).await;
        fleet.tier.renew(&entry, &owner).await.unwrap();
    }
    assert_eq!(fleet.source.calls(), 1);
    fleet.tier.release(&entry, &owner).await.unwrap();
    sleep(SECOND).await;
    assert_ne!(replica.get(HOST).await.unwrap().credential.id(), first);
    assert_eq!(fleet.source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn rejected_credential_is_deleted_and_fetched_once_for_the_fleet() {
    let fleet = Fleet::new();
    let replicas = fleet.replicas(30);
    get_all(&replicas, HOST).await;
    let rejected = replicas[0].get(HOST).await.unwrap().credential.id();
    fleet.source.shut();
    let asking = join_all(replicas.iter().map(|replica| replica.cache.get(lookup_rejecting(HOST, rejected))));
    let inspect = async {
        fleet.source.until_calls(2).await;
        assert!(fleet.tier.values().is_empty(), "no other broker finds the rejected credential");
        fleet.source.open();
    };
    let (results, ()) = tokio::join!(asking, inspect);
    let replaced = shared(&results);
    assert_ne!(replaced, rejected.to_string());
    assert_eq!(fleet.source.calls(), 2);
    // A value that is not the rejected one is taken, and kept.
    let late = fleet.replica();
    let found = late.cache.get(lookup_rejecting(HOST, rejected)).await.unwrap();
    assert_eq!((found.credential.id().to_string(), fleet.source.calls()), (replaced, 2));
}

#[tokio::test(start_paused = true)]
async fn rejected_credential_that_the_source_returns_again_is_not_stored() {
    let fleet = Fleet::new();
    fleet.source.then(Step::SameToken(12 * HOUR));
    let replica = fleet.replica();
    let rejected = replica.get(HOST).await.unwrap().credential.id();
    assert!(replica.cache.get(lookup_rejecting(HOST, rejected)).await.is_err());
    assert!(fleet.tier.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn value_that_is_too_short_for_a_request_is_replaced() {
    let fleet = Fleet::new();
    fleet.replica().get(HOST).await.unwrap();
    fleet.advance(5 * HOUR).await;
    let found = fleet.replica().cache.get(lookup_lasting(HOST, 8 * HOUR)).await.unwrap();
    assert_eq!((found.remaining, fleet.source.calls()), (12 * HOUR, 2));
    assert_eq!(fleet.replica().get(HOST).await.unwrap().remaining, 12 * HOUR);
    assert_eq!(fleet.source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn p5_denial_deletes_the_shared_credential() {
    let fleet = Fleet::new();
    let replica = fleet.replica();
    replica.get(HOST).await.unwrap();
    fleet.source.fail(FailureClass::Denied);
    fleet.advance(2 * HOUR).await;
    replica.get(HOST).await.unwrap();
    sleep(SECOND).await;
    assert!(replica.get(HOST).await.is_err());
    assert!(fleet.tier.values().is_empty());
    assert!(fleet.replica().get(HOST).await.is_err(), "no broker has the credential any more");
}

#[tokio::test(start_paused = true)]
async fn p5_denial_during_an_outage_of_the_tier_outlives_the_outage() {
    let fleet = Fleet::new();
    let replica = fleet.replica();
    replica.get(HOST).await.unwrap();
    let (_, denied) = fleet.entry();
    fleet.advance(2 * HOUR).await;
    fleet.tier.set_outage(Some(TierError::Unavailable));
    fleet.source.fail(FailureClass::Denied);
    replica.get(HOST).await.unwrap();
    sleep(SECOND).await;
    assert!(replica.get(HOST).await.is_err());
    fleet.tier.set_outage(None);
    assert_eq!(fleet.entry().1, denied, "the tier could not delete it");
    fleet.source.then(Step::Token(12 * HOUR));
    fleet.advance(MINUTE).await;
    replica.get(HOST).await.unwrap();
    assert_eq!(fleet.source.calls(), 3, "the source decided again");
    assert_ne!(fleet.entry().1, denied);
    fleet.replica().get(HOST).await.unwrap();
    assert_eq!(fleet.source.calls(), 3, "a credential from after the denial is shared");
}

#[tokio::test(start_paused = true)]
async fn note_that_is_not_known_counts_as_a_lease() {
    let fleet = Fleet::new();
    let (entry, owner) = (entry_name(&fleet).await, LeaseOwner::random());
    assert_eq!(fleet.tier.get_or_lease(&entry, &owner, None).await, Ok(TierAnswer::Leased));
    fleet.tier.fail(&entry, &owner, b"denied for ever", SECOND).await.unwrap();
    let started = Instant::now();
    fleet.replica().get(HOST).await.unwrap();
    assert!(started.elapsed() >= SECOND, "the note was waited for");
    assert_eq!(fleet.source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn p10_tier_has_neither_password_nor_account_nor_role() {
    let fleet = Fleet::new();
    fleet.replica().get(HOST).await.unwrap();
    let (entry, value) = fleet.entry();
    let stored = [entry.as_str().as_bytes(), &value].concat();
    for secret in ["password-1", "123456789012", "999999999999", "role", "AWS"] {
        assert!(!stored.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
}

/// A tier that returns a value although its `ETag` is known, and another one each time.
#[derive(Debug, Default)]
struct Restless(MemoryTier, Mutex<u8>);

impl Tier for Restless {
    fn get_or_lease<'a>(
        &'a self,
        _: &'a EntryName,
        _: &'a LeaseOwner,
        _: Option<&'a [u8]>,
    ) -> SourceFuture<'a, Result<TierAnswer, TierError>> {
        let mut number = self.1.lock().unwrap();
        *number += 1;
        let sealed = vec![*number; 100];
        Box::pin(std::future::ready(Ok(TierAnswer::Value { sealed, ttl: None })))
    }

    fn renew<'a>(&'a self, name: &'a EntryName, owner: &'a LeaseOwner) -> SourceFuture<'a, Result<bool, TierError>> {
        self.0.renew(name, owner)
    }

    fn put<'a>(
        &'a self,
        name: &'a EntryName,
        owner: &'a LeaseOwner,
        value: &'a [u8],
        ttl: Duration,
    ) -> SourceFuture<'a, Result<bool, TierError>> {
        self.0.put(name, owner, value, ttl)
    }

    fn fail<'a>(
        &'a self,
        name: &'a EntryName,
        owner: &'a LeaseOwner,
        note: &'a [u8],
        ttl: Duration,
    ) -> SourceFuture<'a, Result<bool, TierError>> {
        self.0.fail(name, owner, note, ttl)
    }

    fn release<'a>(&'a self, name: &'a EntryName, owner: &'a LeaseOwner) -> SourceFuture<'a, Result<(), TierError>> {
        self.0.release(name, owner)
    }

    fn invalidate<'a>(
        &'a self,
        name: &'a EntryName,
        known: Option<&'a [u8]>,
    ) -> SourceFuture<'a, Result<(), TierError>> {
        self.0.invalidate(name, known)
    }
}

#[tokio::test(start_paused = true)]
async fn tier_that_returns_garbage_without_an_end_is_left_alone() {
    let fleet = Fleet::new();
    let tier = Arc::new(Restless::default());
    let ring = Arc::new(KeyRing::new(&keys(&[1])).unwrap());
    let (source, clock) = (Arc::clone(&fleet.source), Arc::clone(&fleet.clock));
    let shared = SharedCache::new(source, tier.clone(), ring, Arc::new(ByKey), clock, fleet.metrics.clone());
    let fetched = shared.fetch(&fetch_request(key(HOST))).await.unwrap();
    assert_eq!((fetched.source(), fleet.source.calls()), (&SourceName::Aws, 1));
    assert!(*tier.1.lock().unwrap() < 10);
}

#[tokio::test(start_paused = true)]
async fn tokens_too_short_lived_for_the_tier_are_fetched_by_each_replica() {
    for (minutes, calls, stored) in [(15, 2, 0), (30, 2, 0), (31, 1, 1)] {
        let fleet = Fleet::new();
        for replica in fleet.replicas(2) {
            let mut wanted = lookup(HOST);
            wanted.key.lifetime = Lifetime::from_minutes(minutes);
            replica.cache.get(wanted).await.unwrap();
        }
        assert_eq!((fleet.source.calls(), fleet.tier.values().len()), (calls, stored), "{minutes}");
    }
}
