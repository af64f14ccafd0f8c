//! The cache in a simulation: callers that give up, an AWS that fails in every way, clocks that are stepped.
//!
//! Time is the runtime's, paused, so hours take milliseconds. A seed chooses the events, so a failure can be repeated. P1 to P6 and
//! P14 are checked at every call and every answer, against a model that is simpler than the cache.

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
use ecr_broker::moment::Moment;
use ecr_broker::policy::Policy;
use ecr_broker::source::{
    CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus,
};
use fastrand::Rng;
use futures_util::future::join_all;
use support::{HOUR, MINUTE, broker_settings, cache_settings, credential_request, host, lookup};
use tokio::time::{Instant, sleep, timeout};

const KEYS: usize = 4;
const CALLERS: u64 = 12;
const WATCHERS: usize = 6;
const LENGTH: Duration = Duration::from_hours(20);
const MARGIN: Duration = Duration::from_mins(5);
const FETCH_BUDGET: Duration = Duration::from_secs(13);
/// The cache abandons a fetch a second after the source's budget.
const FETCH_TIMEOUT: Duration = Duration::from_secs(14);
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

/// A fake AWS, and a model of each key.
#[derive(Debug)]
struct Aws {
    clock: Arc<SteppedClock>,
    random: Mutex<Rng>,
    keys: Mutex<HashMap<CredentialKey, KeyModel>>,
    calls: Mutex<u64>,
    /// The time after which every call succeeds.
    heals: Duration,
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
    aws: &'a Aws,
    key: CredentialKey,
    began: Instant,
    over: bool,
}

impl<'a> Call<'a> {
    fn begin(aws: &'a Aws, key: &CredentialKey) -> Self {
        *aws.calls.lock().unwrap() += 1;
        let now = aws.clock.now().steady;
        let mut keys = aws.keys.lock().unwrap();
        let model = keys.entry(key.clone()).or_default();
        assert!(!model.in_flight, "P1: two calls in flight for {key:?}");
        model.in_flight = true;
        if let Some(until) = model.backoff_until {
            let early = until.saturating_sub(now);
            assert!(early.is_zero(), "P6: called {early:?} before the end of the backoff");
        }
        Self { aws, key: key.clone(), began: Instant::now(), over: false }
    }

    fn end(mut self, result: &Result<Credential, UpstreamError>) {
        self.over = true;
        let now = self.aws.clock.now();
        let mut keys = self.aws.keys.lock().unwrap();
        let model = keys.get_mut(&self.key).unwrap();
        model.in_flight = false;
        match result {
            Ok(credential) if credential.remaining(now) >= MARGIN => {
                *model = KeyModel { newest: Some((now, credential.remaining(now))), ..KeyModel::default() };
            }
            Ok(_) => model.fail(now.steady, FailureClass::InvalidResponse, None),
            Err(failure) => model.fail(now.steady, failure.class, failure.retry_after),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        assert!(
            self.began.elapsed() >= FETCH_TIMEOUT || std::thread::panicking(),
            "P2: a call was cancelled after {:?}",
            self.began.elapsed()
        );
        let now = self.aws.clock.now().steady;
        let mut keys = self.aws.keys.lock().unwrap();
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

impl Aws {
    async fn answer(&self, key: &CredentialKey) -> Result<Credential, UpstreamError> {
        let call = Call::begin(self, key);
        let (latency, what) = {
            let mut random = self.random.lock().unwrap();
            if self.clock.start.elapsed() >= self.heals {
                (SECOND, 100)
            } else {
                let slow = random.u32(0..20) == 0;
                (Duration::from_secs(random.u64(0..if slow { 20 } else { 3 })), random.u32(0..100))
            }
        };
        sleep(latency).await;
        let failed = |class, retry_after| Err(UpstreamError { retry_after, ..UpstreamError::aws(class) });
        let requested = Duration::from_secs(self.random.lock().unwrap().u64(0..400));
        let result = match what {
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
        };
        call.end(&result);
        result
    }

    fn credential(&self, lifetime: Duration) -> Credential {
        let now = self.clock.now();
        let token = BASE64.encode(format!("AWS:{}", self.calls.lock().unwrap()).as_bytes());
        Credential::from_aws_token(&token, now.wall + lifetime, now).unwrap()
    }
}

impl SourceIdentity for Aws {
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

impl CredentialSource for Aws {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async { Ok(self.answer(&request.key).await?) })
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        FETCH_BUDGET
    }
}

/// A caller that requests random keys.
struct Caller {
    cache: CredentialCache,
    aws: Arc<Aws>,
    random: Rng,
    seen: Option<CredentialId>,
    served: u64,
}

impl Caller {
    async fn live(mut self) -> u64 {
        while self.aws.clock.start.elapsed() < LENGTH {
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
            rejected: self.seen.filter(|_| random.u32(0..20) == 0),
            ..lookup(&host(random.usize(0..KEYS)))
        };
        let deadline = if random.u32(0..3) == 0 { random.u64(0..3_000) } else { 60_000 };
        let began = self.aws.clock.now();
        let needed = lookup.min_validity.max(MARGIN);
        let certain =
            self.aws.keys.lock().unwrap().get(&lookup.key).map_or(Duration::ZERO, |model| model.remaining(began));
        let Ok(answer) = timeout(Duration::from_millis(deadline), self.cache.get(lookup.clone())).await else { return };
        let now = self.aws.clock.now();
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

/// Simulates one life. Returns the number of AWS calls and of callers served.
fn simulate(seed: u64) -> (u64, u64) {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut random = Rng::with_seed(seed);
        let wall = Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let clock = Arc::new(SteppedClock { start: Instant::now(), wall });
        let (keys, calls) = (Mutex::default(), Mutex::default());
        let own = Mutex::new(random.fork());
        let aws = Arc::new(Aws { clock: Arc::clone(&clock), random: own, keys, calls, heals: LENGTH });
        let cache = support::cache(cache_settings(), Arc::clone(&aws) as Arc<dyn CredentialSource>, clock.clone());
        let broker = support::broker(cache.clone(), broker_settings(Policy::Open, None));
        let watchers = (0..WATCHERS).map(|_| Watcher::new(&broker, &clock, &mut random));
        let watchers: Vec<_> = watchers
            .map(|watcher| (Arc::clone(&watcher.received), watcher.needed, tokio::spawn(watcher.live())))
            .collect();
        let callers = (0..CALLERS).map(|_| Caller {
            cache: cache.clone(),
            aws: Arc::clone(&aws),
            random: random.fork(),
            seen: None,
            served: 0,
        });
        let callers: Vec<_> = callers.map(|caller| tokio::spawn(caller.live())).collect();
        let stepped = tokio::spawn(step_clock(Arc::clone(&clock), random.fork()));
        let served = join_all(callers).await.into_iter().map(Result::unwrap).sum();
        stepped.abort();
        // Once AWS succeeds again, every caller is served within the longest backoff.
        sleep(6 * MINUTE).await;
        for number in 0..KEYS {
            cache.get(lookup(&host(number))).await.unwrap();
        }
        sleep(2 * MINUTE).await;
        for (received, needed, watcher) in watchers {
            if watcher.is_finished() {
                watcher.await.unwrap();
                continue;
            }
            watcher.abort();
            let validity =
                received.lock().unwrap().as_ref().map_or(Duration::ZERO, |received| received.remaining(clock.now()));
            assert!(validity >= needed, "a watch has a credential for {validity:?}, and needs {needed:?}");
        }
        let calls = *aws.calls.lock().unwrap();
        (calls, served)
    })
}

/// Steps the wall clock by up to six hours, forward or back, from time to time.
async fn step_clock(clock: Arc<SteppedClock>, mut random: Rng) {
    loop {
        sleep(Duration::from_secs(random.u64(600..14_400))).await;
        let by = Duration::from_secs(random.u64(0..6 * 3_600));
        let mut wall = clock.wall.lock().unwrap();
        *wall = if random.bool() { *wall + by } else { *wall - by };
    }
}

fn simulate_lives(seeds: std::ops::Range<u64>) {
    let (mut calls, mut served) = (0, 0);
    for seed in seeds.clone() {
        let life = std::panic::catch_unwind(|| simulate(seed));
        let (made, answered) = life.unwrap_or_else(|_| panic!("seed {seed}"));
        (calls, served) = (calls + made, served + answered);
    }
    println!("{} lives of 20 h: {calls} calls, {served} callers served", seeds.end - seeds.start);
    assert!(calls > 0 && served > calls);
}

#[test]
fn p1_to_p6_and_p14_hold_in_40_simulated_lives() {
    simulate_lives(0..40);
}

#[test]
#[ignore = "takes minutes: cargo test --release --test simulation -- --ignored"]
fn p1_to_p6_and_p14_hold_in_five_thousand_lives() {
    simulate_lives(1_000..6_000);
}
