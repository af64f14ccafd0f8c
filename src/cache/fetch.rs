//! Fetches: checks that the source may be called, calls it, and caches the credential or the failure.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::entry::Entry;
use super::flight::{FlightOutcome, FlightRequest, SourceCall};
use super::lookup::Lookup;
use super::shared::Shared;
use crate::credential::{Credential, CredentialId, CredentialKey};
use crate::error::{BrokerError, FailureClass};
use crate::jitter;
use crate::source::span::{FetchSpan, record_failure};
use crate::source::{FetchProgress, FetchRequest};

/// Time that a fetch gets beyond the source's budget, so that the source reports its own timeout first.
const GRACE: Duration = Duration::from_secs(1);

/// Delay of the next refresh after the source refused the request that caused one.
const REFUSED_REFRESH_DELAY: Duration = Duration::from_secs(30);

/// Fetches credentials from the source and keeps the results.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    timeout: Duration,
}

impl Fetcher {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let timeout = shared.source.fetch_budget() + GRACE;
        Self { shared, timeout }
    }

    /// Calls the source, unless another flight has just cached a credential that suffices, or a backoff forbids the call (P6).
    pub(super) async fn fetch_once(&self, request: &FlightRequest, progress: &FetchProgress) -> FlightOutcome {
        let key = &request.lookup.key;
        let cached = self.shared.store.get(key).await;
        if let Some(entry) = cached.as_ref().filter(|entry| self.is_enough(entry, request)) {
            return FlightOutcome::without_call(Ok(Arc::clone(entry)));
        }
        if let Err(error) = self.check_may_call(&request.lookup, cached.as_deref()).await {
            return FlightOutcome::without_call(Err(error));
        }
        progress.begin(self.shared.backoff.last_failure(key, self.shared.now()).await);
        let fetch = self.fetch_request(request, self.due(request, cached.as_ref()), progress);
        let result = self.call_source(&fetch).await;
        let call = SourceCall::Made(fetch.span.identity());
        // Ends the span, before the result is cached.
        drop(fetch);
        FlightOutcome { result: self.keep(request, cached, result).await, call }
    }

    fn is_enough(&self, entry: &Entry, request: &FlightRequest) -> bool {
        let must_refresh = request.is_refresh && entry.is_due(self.shared.now());
        self.shared.check(entry, &request.lookup).is_ok() && !must_refresh
    }

    /// Checks that no backoff forbids the call, and that a rejected credential was not replaced in the last minute.
    async fn check_may_call(&self, lookup: &Lookup, cached: Option<&Entry>) -> Result<(), BrokerError> {
        self.shared.backoff.check(&lookup.key, self.shared.now()).await?;
        if cached.is_some_and(|entry| lookup.rejected == Some(entry.credential.id())) {
            self.shared.check_replacement(lookup).await?;
            self.shared.backoff.record_replacement(&lookup.key, self.shared.now()).await;
        }
        Ok(())
    }

    /// Returns the cached entry if the fetch is its refresh.
    fn due<'a>(&self, request: &FlightRequest, cached: Option<&'a Arc<Entry>>) -> Option<&'a Arc<Entry>> {
        cached.filter(|entry| request.is_refresh || entry.is_due(self.shared.now()))
    }

    fn fetch_request(
        &self,
        request: &FlightRequest,
        due: Option<&Arc<Entry>>,
        progress: &FetchProgress,
    ) -> FetchRequest {
        let FlightRequest { lookup, parent_span, .. } = request;
        FetchRequest {
            key: lookup.key.clone(),
            min_validity: self.shared.needed(lookup),
            rejected: lookup.rejected,
            replaces: due.map(|entry| Arc::clone(&entry.credential)),
            new_session: false,
            requester: lookup.requester(),
            proof: lookup.proof(),
            request_id: lookup.request_id,
            hops: lookup.hops.clone(),
            parent_span: parent_span.clone(),
            deadline: Instant::now() + self.timeout,
            progress: progress.clone(),
            span: FetchSpan::default(),
        }
    }

    /// Calls the source, at most until the deadline. A panic in the source becomes an error.
    async fn call_source(&self, request: &FetchRequest) -> Result<Credential, BrokerError> {
        let fetch = timeout_at(request.deadline, self.shared.source.fetch(request));
        let result = AssertUnwindSafe(fetch).catch_unwind().await;
        request.span.in_scope(|| match result {
            Ok(Ok(answer)) => self.check_fetched(&request.key, answer?),
            Ok(Err(_)) => Err(self.timed_out()),
            Err(_) => {
                error!("fetch panicked");
                Err(BrokerError::Internal)
            }
        })
    }

    fn timed_out(&self) -> BrokerError {
        warn!(limit = %humantime::format_duration(self.timeout), "fetch timed out");
        record_failure(FailureClass::unavailable(&self.shared.source.identity().name()));
        self.shared.unanswered()
    }

    fn check_fetched(&self, key: &CredentialKey, credential: Credential) -> Result<Credential, BrokerError> {
        let safety_margin = self.shared.settings.safety_margin;
        let remaining = credential.remaining(self.shared.now());
        if remaining < safety_margin {
            let [remaining, safety_margin] = [remaining, safety_margin].map(humantime::format_duration);
            warn!(%remaining, %safety_margin, "fetched credential rejected: it ends within the safety margin");
            record_failure(FailureClass::InvalidResponse);
            return Err(self.shared.failure(FailureClass::InvalidResponse));
        }
        info!(
            registry = key.registry.host(),
            region = key.registry.region().map(tracing::field::display),
            profile = %key.profile,
            credential_id = %credential.id(),
            source = credential.source().id(),
            expires = %humantime::format_rfc3339_millis(credential.expires()),
            "credential fetched"
        );
        Ok(credential)
    }

    /// Caches the credential or the failure, and notifies the key's watches. `cached` is the entry that the fetch was to replace.
    async fn keep(
        &self,
        request: &FlightRequest,
        cached: Option<Arc<Entry>>,
        result: Result<Credential, BrokerError>,
    ) -> Result<Arc<Entry>, BrokerError> {
        let key = &request.lookup.key;
        let refreshed = self.due(request, cached.as_ref()).cloned();
        if let (Some(_), Err(error)) = (&refreshed, &result) {
            self.shared.metrics.refresh_failed(error);
        }
        let kept = match result {
            Ok(credential) => Ok(self.keep_credential(request, cached, credential).await),
            // Only the requester's own queue is full, or only its request is refused: another one may fetch the key at once.
            Err(error) if error.is_of_request() => {
                if let BrokerError::QueueFull { .. } = error {
                    self.shared.metrics.queue_full();
                } else if let Some(entry) = &refreshed {
                    self.postpone_refresh(key, entry).await;
                }
                return Err(error);
            }
            Err(error) => Err(self.keep_failure(key, refreshed, error).await),
        };
        self.shared.subscriptions.notify(key);
        kept
    }

    /// Delays the next refresh after a refusal of one request. Otherwise each hit with the same request would start a refresh.
    async fn postpone_refresh(&self, key: &CredentialKey, entry: &Arc<Entry>) {
        let postponed = entry.postponed(self.shared.now(), jitter::around(REFUSED_REFRESH_DELAY), entry.is_stale());
        self.shared.store.swap(key, entry, postponed).await;
    }

    async fn keep_credential(
        &self,
        request: &FlightRequest,
        replaced: Option<Arc<Entry>>,
        credential: Credential,
    ) -> Arc<Entry> {
        let key = &request.lookup.key;
        let pushed = self.pushed_meanwhile(request, replaced.as_ref(), &credential).await;
        let is_pushed = pushed.is_some();
        let entry = pushed.unwrap_or_else(|| {
            let uses = replaced.as_ref().map(|entry| entry.uses.carried()).unwrap_or_default();
            let entry = Entry::new(credential, self.shared.settings.refresh_after, uses);
            Arc::new(entry.after_rejection(rejected(request, replaced.as_deref())))
        });
        if !is_pushed {
            self.shared.store.insert(key.clone(), Arc::clone(&entry)).await;
        }
        self.shared.backoff.record_success(key).await;
        entry
    }

    /// Returns the credential that was pushed during the fetch, if it lasts longer than the fetched one.
    async fn pushed_meanwhile(
        &self,
        request: &FlightRequest,
        replaced: Option<&Arc<Entry>>,
        fetched: &Credential,
    ) -> Option<Arc<Entry>> {
        let now = self.shared.now();
        let cached = self.shared.store.get(&request.lookup.key).await?;
        let is_new = replaced.is_some_and(|replaced| replaced.credential.id() != cached.credential.id());
        let lasts_longer = cached.credential.remaining(now) > fetched.remaining(now);
        (is_new && lasts_longer && request.lookup.rejected != Some(cached.credential.id())).then_some(cached)
    }

    /// P5: marks `refreshed`, the credential that was to be replaced because of its age, as STALE after a failure, and drops the key's credential after a
    /// denial. A failed fetch for a longer validity, or of a replacement for a rejected credential, is not a failed refresh.
    ///
    /// Three places end a credential's use: this denial, `Entry::check` (P3), and moka's expiry in `store.rs`. `Entry::status` reads
    /// the mark.
    async fn keep_failure(
        &self,
        key: &CredentialKey,
        refreshed: Option<Arc<Entry>>,
        error: BrokerError,
    ) -> BrokerError {
        // A reload has replaced the profile meanwhile: the failure says nothing about the new one.
        if self.shared.store.is_retired(key) {
            return error;
        }
        if revokes_credentials(&error) {
            self.shared.store.invalidate(key).await;
        } else if let Some(refreshed) = refreshed {
            refreshed.mark_stale();
        }
        self.shared.backoff.record_failure(key, error, self.shared.now()).await
    }
}

/// Returns the credential that a registry rejected: the replaced one, or one before it.
fn rejected(request: &FlightRequest, replaced: Option<&Entry>) -> Option<CredentialId> {
    let replaced = replaced?;
    request.lookup.rejected.filter(|rejected| *rejected == replaced.credential.id()).or_else(|| replaced.rejected())
}

/// Returns whether a cached credential must not outlive the error.
pub(super) fn revokes_credentials(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Upstream(failure) if failure.class.revokes_credentials())
}
