//! Admission control and `keep_warm`, on a paused clock: bulkheads, fair queue, pacing and retries.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::duration_suboptimal_units, reason = "a test may")]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use ecr_broker::broker::{self, Broker};
use ecr_broker::cache::{CacheStatus, CredentialCache, Lookup};
use ecr_broker::caller::{Caller, Principal};
use ecr_broker::clock::Clock;
use ecr_broker::credential::{Credential, CredentialKey};
use ecr_broker::error::{BrokerError, FailureClass, SourceName, UpstreamError};
use ecr_broker::moment::Moment;
use ecr_broker::policy::{CallerPattern, Effect, Grant, Policy, RegistryPattern};
use ecr_broker::profile::{Access, Attribution, Profile};
use ecr_broker::registry::Registry;
use ecr_broker::source::aws::admission::{self, AdmissionControl};
use ecr_broker::source::{
    CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus,
};
use futures_util::future::join_all;
use support::{HOUR, admission_settings, broker_settings, cache_settings, fetch_request, host, key, lookup, upstream};
use tokio::time::{Instant, sleep, timeout};

const LATENCY: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(8);

/// The runtime's clock, which the tests pause.
#[derive(Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Moment {
        let steady = self.0.elapsed();
        Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + steady, steady }
    }
}

/// The behaviour of the fake AWS.
#[derive(Debug, Clone, Copy)]
enum Behaviour {
    /// Admits this many calls a second, with a burst of one second.
    Bucket(f64),
    /// Throttles every call until then.
    ThrottledUntil(Instant),
    /// Fails every call.
    Fails(FailureClass),
    /// Hangs in this region.
    Hangs(&'static str),
    /// Hangs in every region but this one.
    HangsOutside(&'static str),
    /// Hangs for profiles with roles, as while STS is down.
    HangsForRoles,
    /// Fails the first call of a key, and hangs in the next.
    FailsThenHangs,
}

#[derive(Debug)]
struct Aws {
    behaviour: Mutex<Behaviour>,
    latency: Mutex<Duration>,
    /// Tokens in the bucket, and when they were counted.
    bucket: Mutex<(f64, Instant)>,
    calls: Mutex<HashMap<CredentialKey, usize>>,
    in_flight: Mutex<HashMap<CredentialKey, usize>>,
    most_in_flight: AtomicUsize,
    most_of_one_key: AtomicUsize,
    clock: RuntimeClock,
}

impl Aws {
    fn new(behaviour: Behaviour) -> Arc<Self> {
        let tokens = if let Behaviour::Bucket(rate) = behaviour { rate } else { 0.0 };
        Arc::new(Self {
            behaviour: Mutex::new(behaviour),
            latency: Mutex::new(LATENCY),
            bucket: Mutex::new((tokens, Instant::now())),
            calls: Mutex::default(),
            in_flight: Mutex::default(),
            most_in_flight: AtomicUsize::new(0),
            most_of_one_key: AtomicUsize::new(0),
            clock: RuntimeClock(Instant::now()),
        })
    }

    /// Admits every call, and takes this long.
    fn healthy(latency: Duration) -> Arc<Self> {
        let aws = Self::new(Behaviour::Hangs("nowhere"));
        *aws.latency.lock().unwrap() = latency;
        aws
    }

    /// Returns the most calls in flight since the last time.
    fn most_in_flight(&self) -> usize {
        self.most_in_flight.swap(0, Ordering::SeqCst)
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().values().sum()
    }

    fn admits(&self, rate: f64) -> bool {
        let mut bucket = self.bucket.lock().unwrap();
        let now = Instant::now();
        bucket.0 = (bucket.0 + rate * (now - bucket.1).as_secs_f64()).min(rate);
        bucket.1 = now;
        let enough = bucket.0 >= 1.0;
        if enough {
            bucket.0 -= 1.0;
        }
        enough
    }

    async fn answer(&self, key: &CredentialKey) -> Result<Credential, UpstreamError> {
        let failed = |class| Err(UpstreamError::aws(class));
        let behaviour = *self.behaviour.lock().unwrap();
        match behaviour {
            Behaviour::Bucket(rate) if !self.admits(rate) => return failed(FailureClass::Throttled),
            Behaviour::ThrottledUntil(end) if Instant::now() < end => return failed(FailureClass::Throttled),
            Behaviour::Fails(class) => return failed(class),
            Behaviour::Hangs(region) if key.registry.region().is_some_and(|own| own.as_str() == region) => {
                std::future::pending::<()>().await;
            }
            Behaviour::HangsOutside(region) if key.registry.region().is_none_or(|own| own.as_str() != region) => {
                std::future::pending::<()>().await;
            }
            Behaviour::HangsForRoles if key.profile.as_str() != "default" => std::future::pending::<()>().await,
            Behaviour::FailsThenHangs if self.calls.lock().unwrap()[key] == 1 => {
                return failed(FailureClass::Unavailable);
            }
            Behaviour::FailsThenHangs => std::future::pending::<()>().await,
            _ => {}
        }
        let latency = *self.latency.lock().unwrap();
        sleep(latency).await;
        let now = self.clock.now();
        let token = BASE64.encode(format!("AWS:{key:?}").as_bytes());
        Ok(Credential::from_aws_token(&token, now.wall + 12 * HOUR, now).unwrap())
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
        Box::pin(async move {
            *self.calls.lock().unwrap().entry(request.key.clone()).or_default() += 1;
            let in_flight = InFlight::begin(self, &request.key);
            let answer = self.answer(&request.key).await;
            drop(in_flight);
            Ok(answer?)
        })
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        LIMIT
    }
}

struct InFlight<'a>(&'a Aws, CredentialKey);

impl<'a> InFlight<'a> {
    fn begin(aws: &'a Aws, key: &CredentialKey) -> Self {
        let mut flights = aws.in_flight.lock().unwrap();
        let own = flights.entry(key.clone()).or_default();
        *own += 1;
        aws.most_of_one_key.fetch_max(*own, Ordering::SeqCst);
        aws.most_in_flight.fetch_max(flights.values().sum(), Ordering::SeqCst);
        Self(aws, key.clone())
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        *self.0.in_flight.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

fn cache(aws: &Arc<Aws>) -> CredentialCache {
    cache_with(aws, &admission_settings())
}

fn cache_with(aws: &Arc<Aws>, settings: &admission::Settings) -> CredentialCache {
    let source = Arc::new(AdmissionControl::new(Arc::clone(aws), settings));
    support::cache(cache_settings(), source, Arc::new(RuntimeClock(Instant::now())))
}

async fn fetch(source: &impl CredentialSource, key: &CredentialKey) -> Result<Credential, FetchError> {
    source.fetch(&fetch_request(key.clone())).await
}

async fn fetch_for(source: &impl CredentialSource, key: &CredentialKey, uid: u32) -> Result<Credential, FetchError> {
    source.fetch(&FetchRequest { requester: Some(Principal::Uid(uid)), ..fetch_request(key.clone()) }).await
}

/// A lookup of a caller that leaves after `patience`.
fn hasty_lookup(number: usize, uid: u32, patience: Duration) -> Lookup {
    Lookup { caller: Caller::process(uid, uid), answer_by: Some(Instant::now() + patience), ..lookup(&host(number)) }
}

/// Looks up the keys at once, each for a caller that leaves after `patience`. Returns each answer and when it came.
async fn burst(
    cache: &CredentialCache,
    numbers: std::ops::Range<usize>,
    patience: Duration,
) -> Vec<(Result<CacheStatus, BrokerError>, Duration)> {
    let began = Instant::now();
    let callers = numbers.map(|number| {
        let cache = cache.clone();
        tokio::spawn(async move {
            let answer = cache.get(hasty_lookup(number, 1, patience)).await;
            (answer.map(|found| found.status), began.elapsed())
        })
    });
    join_all(callers).await.into_iter().map(Result::unwrap).collect()
}

/// Retries after each retry delay, and returns the time until a credential arrived.
async fn retry_until_served(cache: CredentialCache, host: String) -> Duration {
    let began = Instant::now();
    loop {
        match cache.get(lookup(&host)).await {
            Ok(_) => return began.elapsed(),
            Err(error) => sleep(error.retry_after().unwrap_or_else(|| panic!("{error:?}"))).await,
        }
    }
}

/// Runs a thousand callers on 200 cold keys, and returns the longest wait.
async fn thousand_callers(cache: &CredentialCache) -> Duration {
    let callers = (0..1_000).map(|number| tokio::spawn(retry_until_served(cache.clone(), host(number % 200))));
    join_all(callers).await.into_iter().map(Result::unwrap).max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn p6_twenty_calls_a_second_serve_200_keys_in_20_s_with_two_calls_a_key() {
    let aws = Aws::new(Behaviour::Bucket(20.0));
    let longest = thousand_callers(&cache(&aws)).await;
    println!("{} calls, last caller served after {longest:?}", aws.calls());
    assert!(longest <= Duration::from_secs(20), "{longest:?}");
    assert!(aws.calls() <= 400, "{}", aws.calls());
    assert_eq!(aws.most_of_one_key.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn p6_keys_back_off_while_aws_throttles_and_are_served_soon_after() {
    let outage = Duration::from_mins(1);
    let aws = Aws::new(Behaviour::ThrottledUntil(Instant::now() + outage));
    let longest = thousand_callers(&cache(&aws)).await;
    println!("{} calls, last caller served after {longest:?}", aws.calls());
    assert!(longest <= outage + Duration::from_secs(35), "{longest:?}");
    // Backoffs of 0.5, 1, 2, 4, 8, 16 and 30 s: seven calls in the minute, and one that is served.
    let calls = aws.calls.lock().unwrap().values().copied().max().unwrap();
    assert!(calls <= 8, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn p7_hanging_region_has_eight_calls_in_flight_and_delays_no_other() {
    let aws = Aws::new(Behaviour::Hangs("eu-central-1"));
    let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &admission_settings()));
    let hanging: Vec<_> = (0..50)
        .map(|number| {
            let (source, key) = (Arc::clone(&source), key(&host(number)));
            tokio::spawn(async move { fetch(&source, &key).await.map(drop).unwrap_err() })
        })
        .collect();
    tokio::task::yield_now().await;
    for number in 0..20 {
        let began = Instant::now();
        let other = key(&host(number).replace("eu-central-1", "eu-west-1"));
        fetch(&source, &other).await.unwrap();
        fetch(&source, &key("public.ecr.aws")).await.unwrap();
        assert!(began.elapsed() < 3 * LATENCY, "{number}: {:?}", began.elapsed());
    }
    assert_eq!(aws.most_in_flight.load(Ordering::SeqCst), 9, "eight calls that hang, and one that does not");
    for outcome in hanging {
        match outcome.await.unwrap() {
            FetchError::Upstream(failure) => assert_eq!(failure.class, FailureClass::Unavailable),
            FetchError::QueueFull { .. } => {}
        }
    }
    // Calls that could not start in time were not made, and none is stuck.
    assert!(aws.calls.lock().unwrap().len() < 50 + 21);
    let again = timeout(Duration::from_secs(1), fetch(&source, &key("public.ecr.aws"))).await;
    assert!(again.unwrap().is_ok());
}

/// A caller requests thousands of accounts while another requests one.
#[tokio::test(start_paused = true)]
async fn p7_caller_with_thousands_of_registries_delays_no_other_caller() {
    for (behaviour, longest) in
        [(Behaviour::Hangs("nowhere"), 3 * LATENCY), (Behaviour::Bucket(20.0), Duration::from_secs(5))]
    {
        let aws = Aws::new(behaviour);
        let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &admission_settings()));
        let greedy = (0..5_000).map(|number| {
            let (source, key) = (Arc::clone(&source), key(&host(number)));
            tokio::spawn(async move { fetch_for(&source, &key, 1).await.map(drop) })
        });
        let greedy: Vec<_> = greedy.collect();
        let mut slowest = Duration::ZERO;
        for number in 5_000..5_020 {
            tokio::task::yield_now().await;
            let began = Instant::now();
            let mut answer = fetch_for(&source, &key(&host(number)), 2).await;
            while answer.is_err() {
                // The bucket was empty. The cache's backoff is as long.
                sleep(Duration::from_millis(500)).await;
                answer = fetch_for(&source, &key(&host(number)), 2).await;
            }
            slowest = slowest.max(began.elapsed());
        }
        println!("{behaviour:?}: beside 5,000 keys of another caller, the slowest of 20 took {slowest:?}");
        assert!(slowest <= longest, "{behaviour:?}: {slowest:?}");
        greedy.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// A flooding caller, whose lane is full, leads a flight that another caller joins. The call starts in the other's lane.
#[tokio::test(start_paused = true)]
async fn p7_caller_coalesced_into_a_full_queue_makes_its_own_call() {
    let aws = Aws::new(Behaviour::Hangs("nowhere"));
    let settings =
        admission::Settings { max_in_flight_per_region: 8, max_queued_per_requester: 100, ..admission_settings() };
    let cache = cache_with(&aws, &settings);
    let of = |uid, number| Lookup { caller: Caller::process(uid, uid), ..lookup(&host(number)) };
    for round in 0..20 {
        for number in 0..200 {
            let (cache, own) = (cache.clone(), of(1, 1_000 * round + number));
            tokio::spawn(async move { cache.get(own).await.map(drop) });
        }
        // Each of the flood's lookups starts a task, which enters the queue.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let refused = cache.get(of(1, 1_000 * round + 500)).await.unwrap_err();
        assert!(matches!(refused, BrokerError::QueueFull { .. }), "{refused:?}");
        let joined = 1_000 * round + 501;
        let (greedy, honest) = tokio::join!(cache.get(of(1, joined)), cache.get(of(2, joined)));
        assert_eq!((greedy.unwrap().status, honest.unwrap().status), (CacheStatus::Miss, CacheStatus::Coalesced));
    }
}

/// A fetch queues in the long lane of its first caller. For the next caller it queues in that one's short lane, too.
#[tokio::test(start_paused = true)]
async fn p7_caller_joining_a_queued_fetch_gets_it_into_its_own_lane() {
    let aws = Aws::new(Behaviour::Hangs("nowhere"));
    let cache = cache_with(&aws, &admission::Settings { max_in_flight_per_region: 8, ..admission_settings() });
    let greedy = tokio::spawn({
        let cache = cache.clone();
        async move { burst(&cache, 0..1_000, Duration::from_secs(29)).await }
    });
    sleep(Duration::from_millis(1)).await;
    for number in (960..1_000).rev() {
        let began = Instant::now();
        let found = cache.get(hasty_lookup(number, 2, Duration::from_secs(1))).await.unwrap();
        assert_eq!(found.status, CacheStatus::Coalesced);
        assert!(began.elapsed() < 3 * LATENCY, "{number}: {:?}", began.elapsed());
    }
    assert!(greedy.await.unwrap().iter().all(|(answer, _)| answer.is_ok()));
    assert_eq!((aws.calls(), aws.most_of_one_key.load(Ordering::SeqCst)), (1_000, 1));
}

/// A call that would wait too long, or with too many others of its requester, fails at its arrival, not after the wait.
#[tokio::test(start_paused = true)]
async fn p8_call_that_cannot_start_in_time_fails_at_once() {
    let defaults = || admission::Settings { max_in_flight_per_region: 8, ..admission_settings() };
    for (settings, queued) in [
        (defaults(), 2_048..2_049),
        // 30 s of queue, at 8 calls in 100 ms until the first call has shown that it takes 50 ms.
        (admission::Settings { max_queued_per_requester: 10_000, ..defaults() }, 2_390..2_410),
    ] {
        let aws = Aws::new(Behaviour::Hangs("nowhere"));
        let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &settings));
        let calls = (0..5_000).map(|number| {
            let (source, key) = (Arc::clone(&source), key(&host(number)));
            tokio::spawn(async move {
                let began = Instant::now();
                fetch(&source, &key).await.map_err(|failure| (began.elapsed(), failure)).map(drop)
            })
        });
        let mut served = 0;
        for call in join_all(calls).await {
            match call.unwrap() {
                Ok(()) => served += 1,
                Err((after, failure)) => {
                    assert!(BrokerError::from(failure).retry_after().is_some());
                    assert_eq!(after, Duration::ZERO);
                }
            }
        }
        println!("of 5,000 simultaneous calls {served} were served, and the others failed at once");
        assert!(queued.contains(&(served - 8)), "{served}: 8 in flight, and {queued:?} in the queue");
    }
}

#[tokio::test(start_paused = true)]
async fn p7_thousand_cold_keys_are_served_within_4_s_without_an_error() {
    let aws = Aws::healthy(Duration::from_millis(100));
    let answers = burst(&cache(&aws), 0..1_000, Duration::from_millis(9_800)).await;
    let slowest = answers.iter().map(|(_, after)| *after).max().unwrap();
    println!("1,000 cold keys at 100 ms a call: {slowest:?}");
    assert!(answers.iter().all(|(answer, _)| answer == &Ok(CacheStatus::Miss)));
    assert!(slowest <= Duration::from_secs(4), "{slowest:?}");
    assert_eq!((aws.calls(), aws.most_in_flight()), (1_000, 64));
}

#[tokio::test(start_paused = true)]
async fn p7_hundred_cold_registries_at_400_ms_a_call_are_all_served() {
    let aws = Aws::healthy(Duration::from_millis(400));
    let answers = burst(&cache(&aws), 0..100, Duration::from_millis(29_800)).await;
    let slowest = answers.iter().map(|(_, after)| *after).max().unwrap();
    println!("100 cold registries at 400 ms a call: {slowest:?}");
    assert!(answers.iter().all(|(answer, _)| answer.is_ok()) && slowest <= Duration::from_secs(2), "{slowest:?}");
}

/// A role's calls keep three quarters of the limit, whatever it is.
#[tokio::test(start_paused = true)]
async fn p7_roles_use_three_quarters_of_the_calls_in_flight() {
    let aws = Aws::healthy(Duration::from_millis(100));
    let cache = cache(&aws);
    let fetches = (0..1_000).map(|number| {
        let key = CredentialKey { profile: "ci".into(), ..key(&host(number)) };
        cache.get(Lookup { key, ..lookup(&host(number)) })
    });
    assert!(join_all(fetches).await.iter().all(Result::is_ok));
    assert_eq!(aws.most_in_flight(), 48);
}

/// Hanging calls keep their slots for seconds. With 64 of them in a few regions, `aws.max_in_flight` would be used up.
#[tokio::test(start_paused = true)]
async fn p7_region_that_stops_answering_returns_to_eight_calls_in_flight() {
    let aws = Aws::healthy(LATENCY);
    let cache = cache(&aws);
    burst(&cache, 0..500, Duration::from_secs(29)).await;
    assert_eq!(aws.most_in_flight(), 64);
    *aws.behaviour.lock().unwrap() = Behaviour::Hangs("eu-central-1");
    let hanging = tokio::spawn(async move { burst(&cache, 500..600, Duration::from_secs(29)).await });
    sleep(LIMIT + Duration::from_secs(1)).await;
    assert_eq!(aws.most_in_flight(), 64, "until the first call timed out");
    let in_flight: usize = aws.in_flight.lock().unwrap().values().sum();
    assert_eq!(in_flight, 8);
    hanging.abort();
}

#[tokio::test(start_paused = true)]
async fn p7_all_regions_together_are_bounded_and_one_caller_has_half() {
    let aws = Aws::healthy(Duration::from_secs(1));
    let settings = admission::Settings { max_in_flight: 20, ..admission_settings() };
    let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &settings));
    let fetch_in = |uid: u32, region: &str, number: usize| {
        let (source, key) = (Arc::clone(&source), key(&host(number).replace("eu-central-1", region)));
        tokio::spawn(async move { fetch_for(&source, &key, uid).await.map(drop) })
    };
    let regions = ["eu-central-1", "eu-west-1", "us-east-1", "us-west-2"];
    let of = |uid: u32| regions.map(|region| (0..60).map(|number| fetch_in(uid, region, number)).collect::<Vec<_>>());
    let first: Vec<_> = of(1).into_iter().flatten().collect();
    sleep(Duration::from_millis(1_500)).await;
    // Eight of each region, and beyond them ten. The first call of a lane counts, too, while it waits for a slot.
    let most = aws.most_in_flight();
    assert!((32 + 6..=32 + 10).contains(&most), "{most}");
    // The keys of the second caller are those of the first, but a source does not coalesce.
    let second: Vec<_> = of(2).into_iter().flatten().collect();
    for fetch in join_all(first.into_iter().chain(second)).await {
        fetch.unwrap().unwrap();
    }
    let most = aws.most_in_flight();
    assert!((32 + 12..=32 + 20).contains(&most), "{most}");
    assert_eq!(aws.calls(), 480);
}

/// One caller asks for 20 registries of each of 24 regions, of which 23 hang: their first calls would be 184.
#[tokio::test(start_paused = true)]
async fn p7_caller_of_every_region_has_a_share_of_their_first_calls() {
    const HEALTHY: &str = "eu-west-1";
    const HANGING: [&str; 23] = [
        "af-south-1",
        "ap-east-1",
        "ap-east-2",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ca-central-1",
        "ca-west-1",
        "eu-central-1",
        "eu-north-1",
        "eu-south-1",
        "eu-west-2",
        "il-central-1",
        "me-south-1",
        "mx-central-1",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-west-2",
    ];
    let aws = Aws::new(Behaviour::HangsOutside(HEALTHY));
    let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &admission_settings()));
    let fetch = |uid: u32, region: &str, number: usize| {
        let (source, key) = (Arc::clone(&source), key(&host(number).replace("eu-central-1", region)));
        tokio::spawn(async move { fetch_for(&source, &key, uid).await.map(drop) })
    };
    let greedy: Vec<_> = HANGING.iter().flat_map(|region| (0..20).map(|number| fetch(1, region, number))).collect();
    sleep(Duration::from_secs(1)).await;
    let most = aws.most_in_flight();
    println!("one caller in 23 hanging regions: {most} calls in flight");
    // 128, and one of each region. The first call of a lane counts, too, while it waits for a slot.
    assert!((128..=128 + HANGING.len()).contains(&most), "{most}");
    // Neither the caller itself is delayed in another region, nor another caller in the hanging ones.
    let began = Instant::now();
    fetch(1, HEALTHY, 100).await.unwrap().unwrap();
    assert!(began.elapsed() < 4 * LATENCY, "{:?}", began.elapsed());
    let calls = aws.calls();
    let other: Vec<_> = HANGING.iter().map(|region| fetch(2, region, 200)).collect();
    sleep(Duration::from_millis(100)).await;
    let started = aws.calls() - calls;
    assert!(started >= 3, "regions in which the first caller has all slots: {started} of 23 started");
    greedy.iter().chain(&other).for_each(tokio::task::JoinHandle::abort);
}

/// Lets the limits of four regions grow, for the calls of two callers, then lets all regions but one hang, and fills the four.
async fn hang_four_grown_regions(source: &Arc<AdmissionControl<Arc<Aws>>>, aws: &Arc<Aws>, profile: &str) {
    let fetches = |numbers: std::ops::Range<usize>| {
        let regions = [(1, "eu-central-1"), (1, "us-east-1"), (2, "us-west-2"), (2, "sa-east-1")];
        let keys = regions.into_iter().flat_map(|(uid, region)| {
            numbers.clone().map(move |number| (uid, key(&host(number).replace("eu-central-1", region))))
        });
        let fetches = keys.map(|(uid, key)| {
            let (source, key) = (Arc::clone(source), CredentialKey { profile: profile.into(), ..key });
            tokio::spawn(async move { fetch_for(&source, &key, uid).await.map(drop) })
        });
        fetches.collect::<Vec<_>>()
    };
    for fetch in join_all(fetches(0..300)).await {
        fetch.unwrap().unwrap();
    }
    *aws.behaviour.lock().unwrap() = Behaviour::HangsOutside("eu-west-1");
    drop(fetches(300..600));
    sleep(Duration::from_millis(100)).await;
}

/// Idle regions keep their limits. Four of them use up `aws.max_in_flight` when they hang, and two callers' shares.
#[tokio::test(start_paused = true)]
async fn p7_grown_regions_that_hang_delay_no_call_in_another_region() {
    for profile in ["default", "ci"] {
        let aws = Aws::healthy(LATENCY);
        let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &admission_settings()));
        hang_four_grown_regions(&source, &aws, profile).await;
        let in_flight: usize = aws.in_flight.lock().unwrap().values().sum();
        assert!(in_flight >= 4 * 45, "{profile}: {in_flight}");
        for uid in [1, 2, 3] {
            let began = Instant::now();
            let keys: Vec<_> = (0..6).map(|number| key(&host(number).replace("eu-central-1", "eu-west-1"))).collect();
            for answer in join_all(keys.iter().map(|key| fetch_for(&source, key, uid))).await {
                answer.unwrap();
            }
            assert!(began.elapsed() < 2 * LATENCY, "{profile}, {uid}: {:?}", began.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn burst_after_an_outage_is_served_without_an_error() {
    let aws = Aws::new(Behaviour::Hangs("eu-central-1"));
    let cache = cache(&aws);
    let refused = burst(&cache, 0..32, Duration::from_secs(29)).await;
    assert!(refused.iter().all(|(answer, _)| answer.is_err()));
    sleep(Duration::from_secs(10)).await;
    *aws.behaviour.lock().unwrap() = Behaviour::Hangs("nowhere");
    let answers = burst(&cache, 1_000..1_100, Duration::from_secs(10)).await;
    assert!(answers.iter().all(|(answer, _)| answer.is_ok()), "{answers:?}");
}

/// The caller that cannot wait is refused at once, and its fetch keeps its place: its retry finds the credential.
#[tokio::test(start_paused = true)]
async fn p2_caller_that_cannot_wait_is_refused_at_once_and_its_fetch_goes_on() {
    let second = Duration::from_secs(1);
    let aws = Aws::healthy(second);
    let cache = cache_with(&aws, &admission::Settings { max_in_flight_per_region: 1, ..admission_settings() });
    cache.get(lookup(&host(0))).await.unwrap();
    let began = Instant::now();
    let answers = burst(&cache, 1..11, second * 9 / 2).await;
    for (number, (answer, after)) in (0..).zip(&answers) {
        match answer {
            Ok(status) => {
                assert_eq!((*status, *after, number < 5), (CacheStatus::Miss, second * (1 + number), true));
            }
            Err(BrokerError::QueueFull { retry_after }) => {
                assert_eq!((*after, number >= 5), (Duration::ZERO, true), "{number}");
                assert!(*retry_after >= second * number, "its turn comes then: {retry_after:?}");
            }
            Err(error) => panic!("{number}: {error:?}"),
        }
    }
    // Another caller of a queued key waits for as long as it can, too.
    let refused = cache.get(hasty_lookup(10, 1, second)).await.unwrap_err();
    assert!(matches!(refused, BrokerError::QueueFull { .. }), "{refused:?}");
    tokio::time::sleep_until(began + second * 11).await;
    for number in 1..11 {
        assert_eq!(cache.get(lookup(&host(number))).await.unwrap().status, CacheStatus::Hit, "{number}");
    }
    assert_eq!((aws.calls(), aws.most_of_one_key.load(Ordering::SeqCst)), (11, 1));
}

#[tokio::test(start_paused = true)]
async fn fetch_keeps_its_place_in_the_queue_for_30_s() {
    let aws = Aws::new(Behaviour::Hangs("eu-central-1"));
    let cache = cache(&aws);
    let began = Instant::now();
    let callers = (0..50).map(|number| {
        let cache = cache.clone();
        tokio::spawn(async move { (cache.get(lookup(&host(number))).await.unwrap_err(), began.elapsed()) })
    });
    let mut refused = 0;
    for caller in join_all(callers).await {
        match caller.unwrap() {
            (BrokerError::Upstream(failure), _) => assert_eq!(failure.class, FailureClass::Unavailable),
            (BrokerError::QueueFull { .. }, after) => {
                assert_eq!(after, Duration::from_secs(30));
                refused += 1;
            }
            error => panic!("{error:?}"),
        }
    }
    // Eight calls at a time, which time out after 8 s.
    assert_eq!((refused, aws.calls.lock().unwrap().len()), (50 - 32, 32));
}

#[tokio::test(start_paused = true)]
async fn p2_caller_gets_the_cause_of_its_wait_before_its_deadline() {
    let patience = Duration::from_secs(2);
    let leave = async |behaviour, number| {
        let aws = Aws::new(behaviour);
        let (cache, began) = (cache(&aws), Instant::now());
        let hanging: Vec<_> = (0..number).map(|number| cache.warm(key(&host(number)))).collect();
        join_all(hanging).await;
        tokio::task::yield_now().await;
        let answer = timeout(2 * patience, cache.get(hasty_lookup(number, 1, patience))).await;
        (answer.ok().map(Result::unwrap_err), began.elapsed())
    };
    let (queued, after) = leave(Behaviour::Hangs("eu-central-1"), 8).await;
    assert!(matches!(queued, Some(BrokerError::QueueFull { .. })), "{queued:?}");
    assert_eq!(after, patience, "the eight calls in flight do not show that they hang");
    let (retried, after) = leave(Behaviour::FailsThenHangs, 0).await;
    assert_eq!((retried.map(|error| error.reason()), after), (Some("AWS_UNAVAILABLE"), patience));
    let (unknown, after) = leave(Behaviour::Hangs("eu-central-1"), 0).await;
    assert_eq!((unknown, after), (None, 2 * patience), "no cause is known: the caller's deadline ends the wait");
}

/// Requests cold keys in two regions by one caller, through the cache, and returns the p99 of the healthy region.
async fn p99_beside(other: Behaviour) -> Duration {
    let aws = Aws::new(other);
    let cache = cache(&aws);
    let (mut waits, mut callers) = (Vec::new(), Vec::new());
    for number in 0..1_000 {
        let hanging = lookup(&host(number));
        let (cache, well) = (cache.clone(), lookup(&host(number).replace("eu-central-1", "eu-west-1")));
        let beside = cache.clone();
        callers.push(tokio::spawn(async move { beside.get(hanging).await.map(drop) }));
        waits.push(tokio::spawn(async move {
            let began = Instant::now();
            cache.get(well).await.unwrap();
            began.elapsed()
        }));
        // A little less than the throughput of eight calls in flight.
        sleep(LATENCY / 7).await;
    }
    let mut waits: Vec<_> = join_all(waits).await.into_iter().map(Result::unwrap).collect();
    callers.iter().for_each(tokio::task::JoinHandle::abort);
    waits.sort();
    waits[990]
}

#[tokio::test(start_paused = true)]
async fn p7_hanging_region_leaves_the_latency_of_others_unchanged() {
    let (without, with) =
        (p99_beside(Behaviour::Hangs("nowhere")).await, p99_beside(Behaviour::Hangs("eu-central-1")).await);
    println!("p99 of another region: {without:?} while all regions answer, {with:?} while one hangs");
    assert!(with <= 2 * without, "{with:?}, {without:?}");
}

fn warm_broker(aws: &Arc<Aws>) -> (Arc<Broker>, CredentialCache) {
    let cache = cache(aws);
    (support::broker(cache.clone(), broker_settings(Policy::Open, None)), cache)
}

/// A hundred keys are at most an hour old when AWS fails. A caller requests one of them every second.
#[tokio::test(start_paused = true)]
async fn p5_twelve_hour_outage_costs_warm_keys_no_error_for_10_8_hours() {
    const KEYS: usize = 100;
    let aws = Aws::new(Behaviour::Hangs("nowhere"));
    let cache = cache(&aws);
    // Each key is requested often enough to be refreshed when it is due.
    for number in 0..4 * 3_600 {
        cache.get(lookup(&host(number % KEYS))).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    *aws.behaviour.lock().unwrap() = Behaviour::Fails(FailureClass::Unavailable);
    let outage = Instant::now();
    let (mut served, mut refused, mut first) = (0, 0, None);
    for number in 0..12 * 3_600 {
        match cache.get(lookup(&host(number % KEYS))).await {
            Ok(found) => {
                assert!(found.credential.remaining(aws.clock.now()) >= cache_settings().safety_margin);
                served += 1;
            }
            Err(BrokerError::Upstream(failure)) => {
                assert_eq!(failure.class, FailureClass::Unavailable);
                first.get_or_insert_with(|| outage.elapsed());
                refused += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
        sleep(Duration::from_secs(1)).await;
    }
    let first = first.unwrap();
    println!(
        "{served} served; the first of {refused} refused after {:.2} h of the outage",
        first.as_secs_f64() / 3_600.0
    );
    assert!(first >= HOUR.mul_f64(10.8), "{first:?}");
}

/// No caller comes for twelve hours. Then AWS fails for as long as warm credentials can last.
#[tokio::test(start_paused = true)]
async fn p5_keep_warm_bridges_an_idle_night_and_an_outage_in_the_morning() {
    let aws = Aws::new(Behaviour::Hangs("nowhere"));
    let (broker, cache) = warm_broker(&aws);
    let hosts: Vec<_> = (0..20).map(host).chain(["public.ecr.aws".to_owned()]).collect();
    let registries = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let keeping = tokio::spawn(broker.keep_warm(registries));
    sleep(12 * HOUR).await;
    let calls = aws.calls();
    // One call for each registry at the start, and about one an hour.
    assert!((21 * 11..=21 * 15).contains(&calls), "{calls}");
    *aws.behaviour.lock().unwrap() = Behaviour::Fails(FailureClass::Unavailable);
    let outage = Instant::now();
    while outage.elapsed() < HOUR.mul_f64(10.7) {
        for host in &hosts {
            cache.get(lookup(host)).await.unwrap_or_else(|error| panic!("after {:?}: {error}", outage.elapsed()));
        }
        sleep(Duration::from_mins(5)).await;
    }
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn keep_warm_fetches_one_by_one_at_the_start_by_each_granted_profile() {
    let aws = Aws::new(Behaviour::Hangs("nowhere"));
    let grant = |id: &str, profile: &str, effect| Grant {
        id: id.into(),
        callers: vec![CallerPattern::Loopback],
        registries: vec![RegistryPattern::Public],
        profile: Some(profile.into()),
        effect,
    };
    let policy = Policy::Grants(vec![
        grant("a", "pull", Effect::Allow),
        grant("b", "push", Effect::Allow),
        grant("c", "never", Effect::Deny),
        grant("d", "each", Effect::Allow),
    ]);
    let each = Profile {
        name: "each".into(),
        role_chain: Vec::new(),
        access: Access::Pull,
        repositories: Vec::new(),
        attribution: Attribution::Caller,
        source_identity: false,
    };
    let settings = broker::Settings { profiles: vec![each], ..broker_settings(policy, None) };
    let broker = support::broker(cache(&aws), settings);
    let registries = (0..100).map(|number| host(number).parse().unwrap()).chain([Registry::PUBLIC]).collect();
    let keeping = tokio::spawn(broker.keep_warm(registries));
    sleep(Duration::from_secs(10)).await;
    let called: Vec<_> = aws.calls.lock().unwrap().keys().cloned().collect();
    let mut profiles: Vec<_> = called.iter().map(|key| key.profile.to_string()).collect();
    profiles.sort();
    assert_eq!(profiles, ["pull", "push"], "a denied profile is not fetched: {called:?}");
    keeping.abort();

    let (broker, _) = warm_broker(&aws);
    let keeping = tokio::spawn(broker.keep_warm((0..100).map(|number| host(number).parse().unwrap()).collect()));
    sleep(Duration::from_millis(100)).await;
    assert!(aws.calls() < 2 + 25, "{}", aws.calls());
    sleep(Duration::from_secs(10)).await;
    assert_eq!(aws.calls(), 2 + 100);
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn p7_hanging_roles_leave_calls_for_the_broker_identity_in_their_region() {
    let aws = Aws::new(Behaviour::HangsForRoles);
    let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &admission_settings()));
    for number in 0..50 {
        let (source, key) = (Arc::clone(&source), CredentialKey { profile: "ci".into(), ..key(&host(number)) });
        tokio::spawn(async move { fetch(&source, &key).await.map(drop) });
    }
    tokio::task::yield_now().await;
    for number in 0..20 {
        let began = Instant::now();
        fetch(&source, &key(&host(number))).await.unwrap();
        assert!(began.elapsed() < 2 * LATENCY, "{number}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried_within_the_budget_and_others_never() {
    let of = async |class, calls: usize| {
        let aws = Aws::new(Behaviour::Fails(class));
        let source = AdmissionControl::new(Arc::clone(&aws), &admission_settings());
        for number in 0..calls {
            assert_eq!(fetch(&source, &key(&host(number))).await.map(drop).map_err(upstream).unwrap_err().class, class);
        }
        aws.calls()
    };
    assert_eq!(of(FailureClass::Unavailable, 1).await, 3);
    let calls = of(FailureClass::Unavailable, 1_000).await;
    assert!((1_100..=1_110).contains(&calls), "{calls}");
    for class in [
        FailureClass::Throttled,
        FailureClass::Denied,
        FailureClass::InvalidResponse,
        FailureClass::NoCredentials,
        FailureClass::Misconfigured,
    ] {
        let keys = if class == FailureClass::Throttled { 1 } else { 100 };
        assert_eq!(of(class, keys).await, keys, "{class:?}");
    }
}
