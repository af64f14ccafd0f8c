//! Admission control and `keep_warm`, on a paused clock: bulkheads, fair queue, pacing and retries.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::duration_suboptimal_units, reason = "a test may")]

#[path = "../support/mod.rs"]
mod support;

mod lanes;
mod outages;
mod regions;
mod throttled;

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
use ecr_broker::profile::{Access, Attribution, ExtraPermissions, Profile, SessionTags};
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
