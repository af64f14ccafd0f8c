//! Flights: how a credential is fetched once, however many want it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::entry::{Entry, RefreshClaim};
use super::flight_task::LeaderClaim;
use super::{Inner, Lookup};
use crate::caller::Caller;
use crate::credential::{Credential, CredentialKey};
use crate::error::{BrokerError, FailureClass};
use crate::source::FetchRequest;
use crate::source::span::{FetchSpan, record_failure};
use crate::trace::SpanIdentity;

/// What a flight brought back.
#[derive(Debug)]
pub(super) struct FlightOutcome {
    pub(super) result: Result<Arc<Entry>, BrokerError>,
    pub(super) call: Call,
}

/// Whether a flight had to call AWS.
#[derive(Debug)]
pub(super) enum Call {
    /// What it wanted had just been brought, or AWS must not be asked.
    None,
    /// It did; with the identity of the call's span, where that is exported.
    Made(Option<SpanIdentity>),
}

/// Why a flight starts.
#[derive(Debug, Clone)]
pub(super) struct FlightRequest {
    pub(super) lookup: Lookup,
    /// A refresh wants a newer credential than the one held, however good that is.
    pub(super) refresh: bool,
    pub(super) parent: Option<SpanIdentity>,
}

impl Inner {
    /// Starts a refresh that nobody waits for.
    pub(super) fn refresh(self: &Arc<Self>, claim: RefreshClaim, lookup: &Lookup) {
        let inner = Arc::clone(self);
        let departure = FlightRequest { lookup: lookup.clone(), refresh: true, parent: SpanIdentity::current() };
        self.fetches.spawn(async move {
            let _claim = claim;
            let _ = inner.fly(departure, &LeaderClaim::default()).await;
        });
    }

    /// One flight a key: whoever comes first runs it, the others wait for it. The second value tells who ran it.
    pub(super) async fn fly(
        self: &Arc<Self>,
        departure: FlightRequest,
        seat: &LeaderClaim,
    ) -> (Arc<FlightOutcome>, bool) {
        let mut led = false;
        let key = departure.lookup.key.clone();
        let flight = async {
            led = true;
            if !seat.lead() {
                std::future::pending::<()>().await;
            }
            Arc::new(self.fetch_once(&departure).await)
        };
        #[expect(clippy::disallowed_methods, reason = "this is the flight")]
        let landing = self.flights.get_with(key, flight).await;
        (landing, led)
    }

    /// Fetches, unless another flight has just brought what is wanted, or AWS must not be asked.
    async fn fetch_once(&self, departure: &FlightRequest) -> FlightOutcome {
        let FlightRequest { lookup, refresh, .. } = departure;
        let key = &lookup.key;
        let held = self.credentials.get(key).await;
        if let Some(entry) = &held
            && self.judge(entry, lookup).is_ok()
            && !(*refresh && entry.is_due(self.clock.now()))
        {
            return FlightOutcome { result: Ok(Arc::clone(entry)), call: Call::None };
        }
        if let Err(error) = self.may_ask(lookup, held.as_deref()).await {
            return FlightOutcome { result: Err(error), call: Call::None };
        }
        let request = self.fetch_request(departure);
        let result = self.fetch(&request).await;
        let call = request.span.identity();
        drop(request);
        FlightOutcome { result: self.settle(key, held, result).await, call: Call::Made(call) }
    }

    fn fetch_request(&self, departure: &FlightRequest) -> FetchRequest {
        let FlightRequest { lookup, parent, .. } = departure;
        FetchRequest {
            key: lookup.key.clone(),
            min_validity: self.needed(lookup),
            rejected: lookup.rejected,
            requester: lookup.caller.as_ref().map(Caller::principal),
            request_id: lookup.request,
            parent_span: parent.clone(),
            deadline: Instant::now() + self.fetch_timeout,
            span: FetchSpan::default(),
        }
    }

    /// Whether AWS may be asked now: no failure is held, and a credential that was refused was not just replaced.
    async fn may_ask(&self, lookup: &Lookup, held: Option<&Entry>) -> Result<(), BrokerError> {
        let now = self.clock.now();
        self.failures.held(&lookup.key, now).await?;
        if held.is_some_and(|entry| lookup.rejected == Some(entry.credential.id())) {
            self.may_replace_rejected(lookup).await?;
            self.failures.note_rejected(&lookup.key, now).await;
        }
        Ok(())
    }

    /// Asks the source, within a time limit; a panic in it is a failure like another.
    async fn fetch(&self, request: &FetchRequest) -> Result<Credential, BrokerError> {
        let fetch = AssertUnwindSafe(timeout_at(request.deadline, self.source.fetch(request))).catch_unwind();
        let result = fetch.await;
        request.span.in_scope(|| {
            let credential = match result {
                Ok(Ok(answer)) => answer?,
                Ok(Err(_)) => return Err(self.timed_out()),
                Err(_) => {
                    error!("fetch panicked");
                    return Err(BrokerError::Internal);
                }
            };
            self.check_fetched(credential)
        })
    }

    fn timed_out(&self) -> BrokerError {
        warn!(limit = %humantime::format_duration(self.fetch_timeout), "fetch timed out");
        record_failure(FailureClass::Unavailable);
        self.failure(FailureClass::Unavailable)
    }

    fn check_fetched(&self, credential: Credential) -> Result<Credential, BrokerError> {
        let remaining = credential.remaining(self.clock.now());
        if remaining < self.settings.safety_margin {
            warn!(
                remaining = %humantime::format_duration(remaining),
                safety_margin = %humantime::format_duration(self.settings.safety_margin),
                "fetched credential rejected: remaining validity below the safety margin"
            );
            record_failure(FailureClass::InvalidResponse);
            return Err(self.failure(FailureClass::InvalidResponse));
        }
        info!(
            credential_id = %credential.id(),
            expires = %humantime::format_rfc3339_millis(credential.expires()),
            "credential fetched"
        );
        Ok(credential)
    }

    /// Keeps what a fetch brought, be it a credential or a failure.
    async fn settle(
        &self,
        key: &CredentialKey,
        held: Option<Arc<Entry>>,
        result: Result<Credential, BrokerError>,
    ) -> Result<Arc<Entry>, BrokerError> {
        match result {
            Ok(credential) => {
                let entry = Arc::new(Entry::new(credential, self.settings.refresh_after));
                self.credentials.insert(key.clone(), Arc::clone(&entry)).await;
                self.failures.forget(key).await;
                self.watchers.notify(key);
                Ok(entry)
            }
            Err(error) => {
                if matches!(error, BrokerError::QueueFull { .. }) {
                    // The source was not called, because of the requester: nothing is known of the key, and others may call it.
                    return Err(error);
                }
                if is_permanent(&error) {
                    self.credentials.invalidate(key).await;
                } else if let Some(held) = held {
                    held.mark_stale();
                }
                let error = self.failures.remember(key, error, self.clock.now()).await;
                self.watchers.notify(key);
                Err(error)
            }
        }
    }
}

fn is_permanent(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Upstream(failure) if failure.class.is_permanent())
}
