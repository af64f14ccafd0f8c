//! The cache in a simulation: callers that give up, an AWS that fails in every way, clocks that are stepped.
//!
//! Time is the runtime's, paused, so hours take milliseconds. A seed chooses the events, so a failure can be repeated. P1 to P6 and
//! P14 are checked at every call and every answer, against a model that is simpler than the cache. In a fleet each replica has its own
//! cache, clock and model. Its source is the shared cache, and one AWS is behind all of them.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::duration_suboptimal_units, reason = "a test may")]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use ecr_broker::broker::{Broker, KnownIds, Watch, WatchUpdate};
use ecr_broker::cache::{CacheStatus, CredentialCache, Lookup};
use ecr_broker::clock::Clock;
use ecr_broker::credential::{Credential, CredentialId, CredentialKey};
use ecr_broker::error::{BrokerError, FailureClass, SourceName, UpstreamError};
use ecr_broker::metrics::Registry;
use ecr_broker::moment::Moment;
use ecr_broker::policy::Policy;
use ecr_broker::source::shared_cache::entry_key::{EntryKeys, EntryParts};
use ecr_broker::source::shared_cache::key_ring::KeyRing;
use ecr_broker::source::shared_cache::keys::Keys;
use ecr_broker::source::shared_cache::memory::MemoryTier;
use ecr_broker::source::shared_cache::tier::{Tier, TierError};
use ecr_broker::source::shared_cache::{Metrics, SharedCache};
use ecr_broker::source::{
    CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus,
};
use fastrand::Rng;
use futures_util::future::join_all;
use support::{HOUR, MINUTE, broker_settings, cache_settings, credential_request, host, lookup};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const KEYS: usize = 4;
const CALLERS: u64 = 12;
const WATCHERS: usize = 6;
const LENGTH: Duration = Duration::from_hours(20);
const MARGIN: Duration = Duration::from_mins(5);
const FETCH_BUDGET: Duration = Duration::from_secs(13);
/// The cache abandons a fetch a second after the source's budget.
const GRACE: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);

/// The runtime's clock, and a wall clock that is stepped.
#[derive(Debug)]
struct SteppedClock {
    start: Instant,
    wall: Mutex<SystemTime>,
}

impl Clock for SteppedClock {
    fn now(&self) -> Moment {
        let steady = self.start.elapsed();
        Moment { wall: *self.wall.lock().unwrap() + steady, steady }
    }
}

/// A fake AWS.
#[derive(Debug)]
struct Aws {
    random: Mutex<Rng>,
    calls: Mutex<u64>,
    /// The number of calls in flight for each key, of all replicas.
    in_flight: Mutex<HashMap<CredentialKey, u32>>,
    /// The time after which every call succeeds.
    heals: Instant,
    /// Whether only a replica that has waited long makes a second call for a key.
    has_one_call_a_key: bool,
}

/// AWS, as a replica with this clock calls it.
#[derive(Debug)]
struct Upstream {
    aws: Arc<Aws>,
    clock: Arc<SteppedClock>,
}

/// What a replica's cache calls: a source, and a model of each key.
#[derive(Debug)]
struct Observed {
    source: Arc<dyn CredentialSource>,
    clock: Arc<SteppedClock>,
    keys: Mutex<HashMap<CredentialKey, KeyModel>>,
}

/// The model of one key.
#[derive(Debug, Default)]
struct KeyModel {
    in_flight: bool,
    /// The newest credential, unless a denial dropped it: when it was issued, and how long it lasts on both clocks.
    newest: Option<(Moment, Duration)>,
    failures_in_a_row: u32,
    /// The end of the backoff, on the monotonic clock.
    backoff_until: Option<Duration>,
}

/// A call in flight. Dropping it before its end breaks P2.
struct Call<'a> {
    observed: &'a Observed,
    key: CredentialKey,
    began: Instant,
    over: bool,
}

impl<'a> Call<'a> {
    fn begin(observed: &'a Observed, key: &CredentialKey) -> Self {
        let now = observed.clock.now().steady;
        let mut keys = observed.keys.lock().unwrap();
        let model = keys.entry(key.clone()).or_default();
        assert!(!model.in_flight, "P1: two calls in flight for {key:?}");
        model.in_flight = true;
        if let Some(until) = model.backoff_until {
            let early = until.saturating_sub(now);
            assert!(early.is_zero(), "P6: called {early:?} before the end of the backoff");
        }
        Self { observed, key: key.clone(), began: Instant::now(), over: false }
    }

    fn end(mut self, result: &Result<Credential, FetchError>) {
        self.over = true;
        let now = self.observed.clock.now();
        let mut keys = self.observed.keys.lock().unwrap();
        let model = keys.get_mut(&self.key).unwrap();
        model.in_flight = false;
        match result {
            Ok(credential) if credential.remaining(now) >= MARGIN => {
                *model = KeyModel { newest: Some((now, credential.remaining(now))), ..KeyModel::default() };
            }
            Ok(_) => model.fail(now.steady, FailureClass::InvalidResponse, None),
            Err(FetchError::Upstream(failure)) => model.fail(now.steady, failure.class, failure.retry_after),
            Err(error) => panic!("{error:?}"),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        assert!(
            self.began.elapsed() >= self.observed.fetch_budget() + GRACE || std::thread::panicking(),
            "P2: a call was cancelled after {:?}",
            self.began.elapsed()
        );
        let now = self.observed.clock.now().steady;
        let mut keys = self.observed.keys.lock().unwrap();
        let model = keys.get_mut(&self.key).unwrap();
        model.in_flight = false;
        model.fail(now, FailureClass::Unavailable, None);
    }
}

impl KeyModel {
    /// Records a failure and its backoff (P6).
    fn fail(&mut self, now: Duration, class: FailureClass, requested: Option<Duration>) {
        let first = Duration::from_millis(500);
        let backoff = match (class, requested) {
            (FailureClass::Denied, _) => {
                self.newest = None;
                30 * SECOND
            }
            (FailureClass::Misconfigured, _) => 30 * SECOND,
            (_, Some(requested)) => requested.clamp(first, 5 * MINUTE),
            _ => (first * 2_u32.pow(self.failures_in_a_row.min(10))).min(30 * SECOND),
        };
        self.failures_in_a_row += u32::from(requested.is_none());
        self.backoff_until = Some(now + backoff);
    }

    /// Returns a lower bound of the newest credential's validity, on either clock.
    fn remaining(&self, now: Moment) -> Duration {
        let Some((issued, lasts)) = self.newest else { return Duration::ZERO };
        // After the wall clock was set back, the credential may seem to be issued in the future.
        if now.wall < issued.wall { Duration::ZERO } else { now.until(issued.after(lasts)) }
    }
}

/// A call of AWS, counted while it lasts.
struct AwsCall<'a>(&'a Aws, &'a CredentialKey);

impl<'a> AwsCall<'a> {
    fn begin(aws: &'a Aws, request: &'a FetchRequest) -> Self {
        *aws.calls.lock().unwrap() += 1;
        let mut in_flight = aws.in_flight.lock().unwrap();
        let count = in_flight.entry(request.key.clone()).or_default();
        if aws.has_one_call_a_key && *count > 0 {
            let left = request.deadline - Instant::now();
            assert!(left <= FETCH_BUDGET / 3, "two replicas call AWS for one key, {left:?} before a deadline");
        }
        *count += 1;
        Self(aws, &request.key)
    }
}

impl Drop for AwsCall<'_> {
    fn drop(&mut self) {
        *self.0.in_flight.lock().unwrap().get_mut(self.1).unwrap() -= 1;
    }
}

impl Upstream {
    async fn answer(&self, request: &FetchRequest) -> Result<Credential, UpstreamError> {
        let _call = AwsCall::begin(&self.aws, request);
        let (latency, what) = {
            let mut random = self.aws.random.lock().unwrap();
            if Instant::now() >= self.aws.heals {
                (SECOND, 100)
            } else {
                let slow = random.u32(0..20) == 0;
                (Duration::from_secs(random.u64(0..if slow { 20 } else { 3 })), random.u32(0..100))
            }
        };
        sleep(latency).await;
        let failed = |class, retry_after| Err(UpstreamError { retry_after, ..UpstreamError::aws(class) });
        let requested = Duration::from_secs(self.aws.random.lock().unwrap().u64(0..400));
        match what {
            0..10 => failed(FailureClass::Throttled, None),
            10..15 => failed(FailureClass::Throttled, Some(requested)),
            15..35 => failed(FailureClass::Unavailable, None),
            35..40 => failed(FailureClass::InvalidResponse, None),
            40..45 => failed(FailureClass::NoCredentials, None),
            45..47 => failed(FailureClass::Denied, None),
            47 => failed(FailureClass::Misconfigured, None),
            48..50 => std::future::pending().await,
            50..55 => Ok(self.credential(4 * MINUTE)),
            55..60 => Ok(self.credential(30 * MINUTE)),
            _ => Ok(self.credential(12 * HOUR)),
        }
    }

    fn credential(&self, lifetime: Duration) -> Credential {
        let now = self.clock.now();
        let token = BASE64.encode(format!("AWS:{}", self.aws.calls.lock().unwrap()).as_bytes());
        Credential::from_aws_token(&token, now.wall + lifetime, now).unwrap()
    }
}

impl SourceIdentity for Upstream {
    fn name(&self) -> SourceName {
        SourceName::Aws
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Ready
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(std::future::ready(self.status()))
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    fn expires(&self) -> Option<SystemTime> {
        None
    }
}

impl CredentialSource for Upstream {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async { Ok(self.answer(request).await?) })
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        FETCH_BUDGET
    }
}

impl CredentialSource for Observed {
    fn identity(&self) -> &dyn SourceIdentity {
        self.source.identity()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async {
            let call = Call::begin(self, &request.key);
            let result = self.source.fetch(request).await;
            call.end(&result);
            result
        })
    }

    fn regions(&self) -> Vec<RegionStatus> {
        self.source.regions()
    }

    fn fetch_budget(&self) -> Duration {
        self.source.fetch_budget()
    }
}

/// An answer depends on its registry alone.
#[derive(Debug)]
struct ByRegistry;

impl EntryKeys for ByRegistry {
    fn parts(&self, key: &CredentialKey) -> Option<EntryParts> {
        Some(EntryParts {
            service: "ecr",
            partition: "aws",
            account: key.registry.host()?,
            region: String::new(),
            endpoint: String::new(),
            identity: String::new(),
            session_policy: String::new(),
            attribution: String::new(),
        })
    }
}

/// A caller that requests random keys.
struct Caller {
    cache: CredentialCache,
    observed: Arc<Observed>,
    /// Whether registries reject its credentials at times.
    rejects: bool,
    random: Rng,
    seen: Option<CredentialId>,
    served: u64,
}

impl Caller {
    async fn live(mut self) -> u64 {
        while self.observed.clock.start.elapsed() < LENGTH {
            let pause = if self.random.u32(0..10) == 0 { self.random.u64(0..3600) } else { self.random.u64(0..60) };
            sleep(Duration::from_millis(pause * 1_000 + self.random.u64(0..1_000))).await;
            self.ask().await;
        }
        self.served
    }

    async fn ask(&mut self) {
        let random = &mut self.random;
        let lookup = Lookup {
            min_validity: if random.u32(0..5) == 0 {
                Duration::from_secs(random.u64(0..36_000))
            } else {
                Duration::ZERO
            },
            rejected: self.seen.filter(|_| random.u32(0..20) == 0 && self.rejects),
            ..lookup(&host(random.usize(0..KEYS)))
        };
        let deadline = if random.u32(0..3) == 0 { random.u64(0..3_000) } else { 60_000 };
        let began = self.observed.clock.now();
        let needed = lookup.min_validity.max(MARGIN);
        let certain =
            self.observed.keys.lock().unwrap().get(&lookup.key).map_or(Duration::ZERO, |model| model.remaining(began));
        let Ok(answer) = timeout(Duration::from_millis(deadline), self.cache.get(lookup.clone())).await else { return };
        let now = self.observed.clock.now();
        match answer {
            Ok(found) => {
                let remaining = found.credential.remaining(now);
                assert!(remaining >= needed, "P3: {remaining:?} left of {needed:?} needed");
                assert_ne!(Some(found.credential.id()), lookup.rejected, "a rejected credential");
                if matches!(found.status, CacheStatus::Hit | CacheStatus::Stale) {
                    assert_eq!(now.steady, began.steady, "P4: a hit that waited");
                }
                self.seen = Some(found.credential.id());
                self.served += 1;
            }
            Err(error) => {
                let good = certain >= needed && lookup.rejected.is_none();
                let denied = matches!(&error, BrokerError::Upstream(failure) if failure.class == FailureClass::Denied);
                assert!(!good || denied, "P5: {error:?}, though a credential lasts {certain:?}");
            }
        }
    }
}

/// A watch, whose only credential is the one that it received last.
struct Watcher {
    watch: Watch,
    clock: Arc<SteppedClock>,
    needed: Duration,
    received: Arc<Mutex<Option<Arc<Credential>>>>,
}

impl Watcher {
    fn new(broker: &Arc<Broker>, clock: &Arc<SteppedClock>, random: &mut Rng) -> Self {
        let min_validity = if random.bool() { Duration::ZERO } else { Duration::from_secs(random.u64(0..36_000)) };
        let request = credential_request(&host(random.usize(0..KEYS)), min_validity);
        Self {
            watch: Watch::new(Arc::clone(broker), request, KnownIds::default()),
            clock: Arc::clone(clock),
            needed: min_validity.max(MARGIN),
            received: Arc::default(),
        }
    }

    async fn live(mut self) {
        loop {
            let update = self.watch.next().await;
            let mut received = self.received.lock().unwrap();
            match update {
                WatchUpdate::Released(released) => {
                    let remaining = released.found.credential.remaining(self.clock.now());
                    assert!(remaining >= self.needed, "P3: {remaining:?} left of {:?} needed", self.needed);
                    let before = received.replace(Arc::clone(&released.found.credential));
                    assert_ne!(
                        before.map(|before| before.id()),
                        Some(released.found.credential.id()),
                        "received again"
                    );
                }
                WatchUpdate::Unchanged(id) => assert_eq!(received.as_ref().map(|received| received.id()), Some(id)),
                WatchUpdate::Failed(_) => {}
            }
        }
    }
}

/// What a life is like.
#[derive(Debug, Clone, Copy)]
struct World {
    replicas: usize,
    tier: TierState,
    /// Whether registries reject credentials.
    rejects: bool,
    /// Longest step of a wall clock.
    step: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TierState {
    None,
    Works,
    /// It fails from time to time.
    Fails,
}

/// One broker that all callers ask.
const ALONE: World = World { replicas: 1, tier: TierState::None, rejects: true, step: Duration::from_hours(6) };

/// The last credential that a watch received.
type Received = Arc<Mutex<Option<Arc<Credential>>>>;

/// A broker, its callers and its watches.
struct Replica {
    observed: Arc<Observed>,
    cache: CredentialCache,
    callers: Vec<JoinHandle<u64>>,
    watches: Vec<(Received, Duration, JoinHandle<()>)>,
    stepped: JoinHandle<()>,
}

impl Replica {
    fn start(world: World, aws: &Arc<Aws>, tier: &Arc<MemoryTier>, random: &mut Rng) -> Self {
        let wall = Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let clock = Arc::new(SteppedClock { start: Instant::now(), wall });
        let upstream = Upstream { aws: Arc::clone(aws), clock: Arc::clone(&clock) };
        let source: Arc<dyn CredentialSource> = match world.tier {
            TierState::None => Arc::new(upstream),
            TierState::Works | TierState::Fails => Arc::new(shared(upstream, tier, &clock)),
        };
        let observed = Arc::new(Observed { source, clock: Arc::clone(&clock), keys: Mutex::default() });
        let cache = support::cache(cache_settings(), Arc::clone(&observed) as Arc<dyn CredentialSource>, clock.clone());
        let broker = support::broker(cache.clone(), broker_settings(Policy::Open, None));
        let watchers = (0..WATCHERS).map(|_| Watcher::new(&broker, &clock, random));
        let watched = watchers
            .map(|watcher| (Arc::clone(&watcher.received), watcher.needed, tokio::spawn(watcher.live())))
            .collect();
        let callers = (0..CALLERS).map(|_| Caller {
            cache: cache.clone(),
            observed: Arc::clone(&observed),
            rejects: world.rejects,
            random: random.fork(),
            seen: None,
            served: 0,
        });
        let callers = callers.map(|caller| tokio::spawn(caller.live())).collect();
        let stepped = tokio::spawn(step_clock(clock, world.step, random.fork()));
        Self { observed, cache, callers, watches: watched, stepped }
    }

    /// Waits for the end of the callers. Returns how many were served.
    async fn until_callers_end(&mut self) -> u64 {
        let served = join_all(self.callers.drain(..)).await.into_iter().map(Result::unwrap).sum();
        self.stepped.abort();
        served
    }

    /// Checks that each watch has a credential that lasts as long as it needs.
    async fn check_watches(self) {
        for (received, needed, watcher) in self.watches {
            if watcher.is_finished() {
                watcher.await.unwrap();
                continue;
            }
            watcher.abort();
            let now = self.observed.clock.now();
            let validity = received.lock().unwrap().as_ref().map_or(Duration::ZERO, |received| received.remaining(now));
            assert!(validity >= needed, "a watch has a credential for {validity:?}, and needs {needed:?}");
        }
    }
}

/// Returns AWS behind a shared cache. All replicas have the same keys.
fn shared(upstream: Upstream, tier: &Arc<MemoryTier>, clock: &Arc<SteppedClock>) -> SharedCache<Upstream> {
    let line = |word, byte| format!("{word} {}\n", BASE64.encode(&[byte; 32]));
    let keys = Keys::parse((line("names", 1) + &line("seal", 2)).as_bytes()).unwrap();
    let (tier, ring) = (Arc::clone(tier) as Arc<dyn Tier>, Arc::new(KeyRing::new(&keys).unwrap()));
    SharedCache::new(upstream, tier, ring, Arc::new(ByRegistry), clock.clone(), Metrics::new(&mut Registry::default()))
}

/// Simulates one life. Returns the number of AWS calls and of callers served.
fn simulate(world: World, seed: u64) -> (u64, u64) {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut random = Rng::with_seed(seed);
        let aws = Arc::new(Aws {
            random: Mutex::new(random.fork()),
            calls: Mutex::default(),
            in_flight: Mutex::default(),
            heals: Instant::now() + LENGTH,
            // A rejection ends the lease of a refresh, and without a tier each replica calls AWS.
            has_one_call_a_key: world.tier == TierState::Works && !world.rejects,
        });
        let tier = Arc::<MemoryTier>::default();
        let mut replicas: Vec<_> =
            (0..world.replicas).map(|_| Replica::start(world, &aws, &tier, &mut random)).collect();
        let failing =
            (world.tier == TierState::Fails).then(|| tokio::spawn(break_tier(Arc::clone(&tier), random.fork())));
        let served = join_all(replicas.iter_mut().map(Replica::until_callers_end)).await.into_iter().sum();
        if let Some(failing) = failing {
            failing.abort();
        }
        // Once AWS succeeds again, every caller is served within the longest backoff.
        sleep(6 * MINUTE).await;
        for replica in &replicas {
            for number in 0..KEYS {
                replica.cache.get(lookup(&host(number))).await.unwrap();
            }
        }
        sleep(2 * MINUTE).await;
        for replica in replicas {
            replica.check_watches().await;
        }
        let calls = *aws.calls.lock().unwrap();
        (calls, served)
    })
}

/// Steps the wall clock, forward or back, from time to time.
async fn step_clock(clock: Arc<SteppedClock>, longest: Duration, mut random: Rng) {
    loop {
        sleep(Duration::from_secs(random.u64(600..14_400))).await;
        let by = Duration::from_secs(random.u64(0..longest.as_secs()));
        let mut wall = clock.wall.lock().unwrap();
        *wall = if random.bool() { *wall + by } else { *wall - by };
    }
}

/// Lets the tier fail from time to time.
async fn break_tier(tier: Arc<MemoryTier>, mut random: Rng) {
    loop {
        sleep(Duration::from_secs(random.u64(0..3_600))).await;
        tier.set_outage(Some(if random.bool() { TierError::Unavailable } else { TierError::BreakerOpen }));
        sleep(Duration::from_secs(random.u64(0..600))).await;
        tier.set_outage(None);
    }
}

/// Simulates lives. Returns the number of AWS calls.
fn simulate_lives(world: World, seeds: std::ops::Range<u64>) -> u64 {
    let (mut calls, mut served) = (0, 0);
    for seed in seeds.clone() {
        let life = std::panic::catch_unwind(|| simulate(world, seed));
        let (made, answered) = life.unwrap_or_else(|_| panic!("seed {seed} of {world:?}"));
        (calls, served) = (calls + made, served + answered);
    }
    println!("{} lives of 20 h: {calls} calls, {served} callers served, {world:?}", seeds.end - seeds.start);
    assert!(calls > 0 && served > calls);
    calls
}

/// Simulates two replicas that share credentials: with a tier that works, one that fails, and one whose clocks differ by hours.
fn simulate_fleets(seeds: std::ops::Range<u64>) {
    let step = Duration::from_mins(10);
    let works = World { replicas: 2, tier: TierState::Works, rejects: false, step };
    let with = simulate_lives(works, seeds.clone());
    let without = simulate_lives(World { tier: TierState::None, ..works }, seeds.clone());
    assert!(with < without, "{with} calls with a tier, {without} without");
    for tier in [TierState::Works, TierState::Fails] {
        simulate_lives(World { replicas: 2, tier, ..ALONE }, seeds.clone());
    }
}

#[test]
fn p1_to_p6_and_p14_hold_in_40_simulated_lives() {
    simulate_lives(ALONE, 0..40);
}

#[test]
fn p1_to_p6_and_p14_hold_in_simulated_fleets() {
    simulate_fleets(0..2);
}

#[test]
#[ignore = "takes minutes: cargo test --release --test simulation -- --ignored"]
fn p1_to_p6_and_p14_hold_in_five_thousand_lives() {
    simulate_lives(ALONE, 1_000..6_000);
}

#[test]
#[ignore = "takes minutes: cargo test --release --test simulation -- --ignored"]
fn p1_to_p6_and_p14_hold_in_a_thousand_simulated_fleets() {
    simulate_fleets(1_000..2_000);
}
