//! The state of the simulated AWS: settings, clock, role sessions and call counts.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::answer::Answer;
use super::call::AuthenticatedCall;
use super::images::Images;
use super::issuer_keys::IssuerKeys;
use super::principal::Principal;
use super::repositories::Repositories;
use super::service::Service;
use super::session::Sessions;
use super::settings::Settings;
use crate::aws_wire::CredentialScope;
use crate::clock::{Clock, SystemClock};
use crate::registry::{AccountId, Partition};
use crate::sync::lock;

/// The account of every caller without a role session.
const ACCOUNT: &str = "123456789012";
/// The operation that makes tokens, of ECR and of ECR Public.
pub(super) const TOKEN_OPERATION: &str = "GetAuthorizationToken";
/// The operation that makes short-lived tokens, of AWS Sign-In.
pub(super) const BEARER_OPERATION: &str = "CreateBearerToken";
/// The most counters, one for each pair of service and region. Callers choose the region, so the number must be bounded.
const MAX_COUNTERS: usize = 1024;
/// The longest token lifetime: long enough for every test, and short enough for every calendar.
const MAX_LIFETIME: Duration = Duration::from_hours(100 * 365 * 24);

/// The state that all connections share.
#[derive(Debug)]
pub(super) struct SimulatedAws {
    account: AccountId,
    settings: Mutex<Settings>,
    clock: Mutex<Arc<dyn Clock>>,
    sessions: Mutex<Sessions>,
    /// Roles whose trust policies do not allow `sts:TagSession`.
    untagged_roles: Mutex<HashSet<String>>,
    repositories: Mutex<Repositories>,
    images: Mutex<Images>,
    token_calls: watch::Sender<u64>,
    calls: Mutex<BTreeMap<(Service, String), u64>>,
    issuer_keys: IssuerKeys,
}

impl SimulatedAws {
    pub(super) fn new(settings: Settings) -> io::Result<Self> {
        Ok(Self {
            account: ACCOUNT.parse().map_err(io::Error::other)?,
            settings: Mutex::new(settings),
            clock: Mutex::new(Arc::new(SystemClock::new())),
            sessions: Mutex::default(),
            untagged_roles: Mutex::default(),
            repositories: Mutex::default(),
            images: Mutex::default(),
            token_calls: watch::Sender::new(0),
            calls: Mutex::default(),
            issuer_keys: IssuerKeys::default(),
        })
    }

    pub(super) fn issuer_keys(&self) -> &IssuerKeys {
        &self.issuer_keys
    }

    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions)
    }

    pub(super) fn untagged_roles(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.untagged_roles)
    }

    /// Returns whether a role's trust policy allows `sts:TagSession`.
    pub(super) fn may_tag(&self, role: &str) -> bool {
        !self.untagged_roles().contains(role)
    }

    pub(super) fn repositories(&self) -> MutexGuard<'_, Repositories> {
        lock(&self.repositories)
    }

    pub(super) fn images(&self) -> MutexGuard<'_, Images> {
        lock(&self.images)
    }

    /// Returns whether the settings have the answer.
    pub(super) fn gives(&self, answer: Answer) -> bool {
        self.settings().answers.contains(&answer)
    }

    pub(super) fn set_clock(&self, clock: Arc<dyn Clock>) {
        *lock(&self.clock) = clock;
    }

    pub(super) fn now(&self) -> SystemTime {
        lock(&self.clock).now().wall
    }

    /// Returns the expiry of a registry token that is made now.
    pub(super) fn token_expiry(&self) -> SystemTime {
        let lifetime = self.settings().token_lifetime;
        self.now() + lifetime.min(MAX_LIFETIME)
    }

    /// Returns the session whose keys signed, else the one user: of an unsigned call, and of keys without a session here.
    pub(super) fn principal(&self, scope: Option<&CredentialScope>) -> Principal {
        let session = scope.and_then(|scope| self.sessions().principal(&scope.access_key));
        session.unwrap_or_else(|| {
            let partition = scope.map_or(Partition::Aws, |scope| scope.region.partition());
            Principal::user(partition, self.account)
        })
    }

    /// Counts a call, and records its operation in the current span.
    pub(super) fn record(&self, call: &AuthenticatedCall) {
        tracing::Span::current().record("operation", call.operation).record("region", call.region_name());
        let pair = (call.service, call.region_name().to_owned());
        let mut calls = lock(&self.calls);
        if calls.len() < MAX_COUNTERS || calls.contains_key(&pair) {
            *calls.entry(pair).or_default() += 1;
        }
        drop(calls);
        // Last, so that a test that waits for the total finds the counts by region complete.
        if [TOKEN_OPERATION, BEARER_OPERATION].contains(&call.operation) {
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
