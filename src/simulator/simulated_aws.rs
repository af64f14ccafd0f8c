//! What the simulated AWS remembers: its settings, its clock, who assumed which role, and how often it was called.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::Settings;
use super::session::{Principal, Sessions};
use super::web_identity::Keys;
use crate::aws_wire::Scope;
use crate::clock::{Clock, SystemClock};
use crate::registry::{AccountId, Partition, Region};

/// The account of every caller that did not assume a role here.
const ACCOUNT: &str = "123456789012";
/// How many pairs of service and region have a count of their own; a caller chooses the region, so there must be an end.
const COUNTED_PAIRS: usize = 1024;
/// The longest a token can be good for: far enough for every test, and near enough for every calendar.
const LONGEST_LIFETIME: Duration = Duration::from_hours(100 * 365 * 24);

/// An AWS service that is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Amazon ECR, the private registries.
    Ecr,
    /// Amazon ECR Public.
    EcrPublic,
    /// The Security Token Service.
    Sts,
}

/// The memory that all connections share.
#[derive(Debug)]
pub(super) struct SimulatedAws {
    account: AccountId,
    settings: Mutex<Settings>,
    clock: Mutex<Arc<dyn Clock>>,
    sessions: Mutex<Sessions>,
    token_calls: watch::Sender<u64>,
    calls: Mutex<BTreeMap<(Service, String), u64>>,
    web_identity_keys: Keys,
}

/// One call that was let in: what it asks for, where, and who asks.
#[derive(Debug)]
pub(super) struct AuthenticatedCall {
    pub(super) service: Service,
    pub(super) operation: &'static str,
    /// None for a call that needs no signature, which is what says the region.
    pub(super) region: Option<Region>,
    pub(super) principal: Principal,
    /// Where it came to.
    pub(super) endpoint: String,
}

impl Service {
    /// The name that requests are signed for.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ecr => "ecr",
            Self::EcrPublic => "ecr-public",
            Self::Sts => "sts",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AuthenticatedCall {
    /// The region's name, empty where there is none.
    pub(super) fn region_name(&self) -> &str {
        self.region.as_ref().map_or("", Region::as_str)
    }
}

impl SimulatedAws {
    pub(super) fn new(settings: Settings) -> io::Result<Self> {
        Ok(Self {
            account: ACCOUNT.parse().map_err(io::Error::other)?,
            settings: Mutex::new(settings),
            clock: Mutex::new(Arc::new(SystemClock::new())),
            sessions: Mutex::default(),
            token_calls: watch::Sender::new(0),
            calls: Mutex::default(),
            web_identity_keys: Keys::default(),
        })
    }

    pub(super) fn web_identity_keys(&self) -> &Keys {
        &self.web_identity_keys
    }

    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions)
    }

    pub(super) fn set_clock(&self, clock: Arc<dyn Clock>) {
        *lock(&self.clock) = clock;
    }

    pub(super) fn now(&self) -> SystemTime {
        lock(&self.clock).now().wall
    }

    /// When a registry token made now expires.
    pub(super) fn token_expiry(&self) -> SystemTime {
        let lifetime = self.settings().token_lifetime;
        self.now() + lifetime.min(LONGEST_LIFETIME)
    }

    /// Who signed; without a signature, or with keys that no session here has, the one user there is.
    pub(super) fn principal(&self, scope: Option<&Scope>) -> Principal {
        let session = scope.and_then(|scope| self.sessions().principal(&scope.access_key));
        session.unwrap_or_else(|| {
            let partition = scope.map_or(Partition::Aws, |scope| scope.region.partition());
            Principal::user(partition, self.account)
        })
    }

    /// Counts a call, and names it in the span that it is answered in.
    pub(super) fn record(&self, arrival: &AuthenticatedCall) {
        tracing::Span::current().record("operation", arrival.operation).record("region", arrival.region_name());
        let pair = (arrival.service, arrival.region_name().to_owned());
        let mut calls = lock(&self.calls);
        if calls.len() < COUNTED_PAIRS || calls.contains_key(&pair) {
            *calls.entry(pair).or_default() += 1;
        }
        drop(calls);
        // Last, so that whoever waits for this total finds the counts by region already made.
        if arrival.service != Service::Sts {
            self.token_calls.send_modify(|calls| *calls += 1);
        }
    }

    pub(super) fn calls_to(&self, service: Service, region: &str) -> u64 {
        lock(&self.calls).get(&(service, region.to_owned())).copied().unwrap_or_default()
    }

    pub(super) fn token_calls(&self) -> watch::Receiver<u64> {
        self.token_calls.subscribe()
    }
}

/// What the locks guard is whole between any two statements, so a thread that died holding one has broken nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
