//! Flights: how a credential is fetched once, however many want it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use tracing::{Instrument as _, error, info, warn};

use super::entry::{Entry, RefreshClaim};
use super::flight_task::LeaderClaim;
use super::{Inner, Lookup};
use crate::caller::{Caller, Principal};
use crate::credential::{Credential, CredentialKey};
use crate::error::{BrokerError, FailureClass, UpstreamError};
use crate::source::{call_span, record_failure};
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
        let FlightRequest { lookup, refresh, parent } = departure;
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
        let span = call_span(key, lookup.request, parent.as_ref());
        let call = SpanIdentity::of(&span);
        let requester = lookup.caller.as_ref().map(Caller::principal);
        let result = self.fetch(key, requester.as_ref()).instrument(span).await;
        FlightOutcome { result: self.settle(key, held, result).await, call: Call::Made(call) }
    }

    /// Whether AWS may be asked now: no failure is held, and a credential that was refused was not just replaced.
    async fn may_ask(&self, lookup: &Lookup, held: Option<&Entry>) -> Result<(), BrokerError> {
        let now = self.clock.now();
        self.failures.held(&lookup.key, now).await?;
        if held.is_some_and(|entry| lookup.rejected == Some(entry.credential.id())) {
            self.failures.may_replace_rejected(&lookup.key, now).await?;
            self.failures.note_rejected(&lookup.key, now).await;
        }
        Ok(())
    }

    /// Asks the source, within a time limit; a panic in it is a failure like another.
    async fn fetch(&self, key: &CredentialKey, requester: Option<&Principal>) -> Result<Credential, BrokerError> {
        let limit = self.settings.fetch_timeout;
        let fetch = AssertUnwindSafe(tokio::time::timeout(limit, self.source.fetch(key, requester))).catch_unwind();
        let credential = match fetch.await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(_)) => {
                warn!(limit = %humantime::format_duration(limit), "the call to AWS took too long");
                record_failure(FailureClass::Unavailable);
                return Err(UpstreamError::new(FailureClass::Unavailable).into());
            }
            Err(_) => {
                error!("a fetch panicked");
                return Err(BrokerError::Internal);
            }
        };
        let remaining = credential.remaining(self.clock.now());
        if remaining < self.settings.safety_margin {
            warn!(
                remaining = %humantime::format_duration(remaining),
                safety_margin = %humantime::format_duration(self.settings.safety_margin),
                "AWS gave a credential that lasts less than the safety margin"
            );
            record_failure(FailureClass::InvalidAnswer);
            return Err(UpstreamError::new(FailureClass::InvalidAnswer).into());
        }
        info!(
            credential_id = %credential.id(),
            expires = %humantime::format_rfc3339_millis(credential.expires()),
            "a credential was fetched"
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
                self.identity_missing.store(false, Ordering::Relaxed);
                let entry = Arc::new(Entry::new(credential, self.settings.refresh_after));
                self.credentials.insert(key.clone(), Arc::clone(&entry)).await;
                self.failures.forget(key).await;
                self.watchers.notify(key);
                Ok(entry)
            }
            Err(error) => {
                let class = class(&error);
                if class == Some(FailureClass::QueueFull) {
                    // AWS was not asked, because of whoever started this: nothing is known of the key, and others may have a turn.
                    return Err(error);
                }
                self.note_identity(&error);
                if class.is_some_and(FailureClass::is_permanent) {
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

    /// An identity that AWS refuses by code is there, and a failure that says nothing of it changes nothing.
    fn note_identity(&self, error: &BrokerError) {
        let BrokerError::Upstream(failure) = error else { return };
        if failure.aws_error_code.is_some() {
            self.identity_missing.store(false, Ordering::Relaxed);
        } else if failure.class == FailureClass::NoCredentials {
            self.identity_missing.store(true, Ordering::Relaxed);
        }
    }
}

pub(super) fn class(error: &BrokerError) -> Option<FailureClass> {
    if let BrokerError::Upstream(failure) = error { Some(failure.class) } else { None }
}
