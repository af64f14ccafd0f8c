//! A watch as a stream of events. A slow client gets the latest event of each registry, not all of them.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, SelectAll};
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tonic::Status;

use self::registry::{RegistryEvent, RegistryEvents, WatchedRegistry};
use super::admitted::AdmittedCall;
use super::call::Call;
use super::decode;
use super::status::{ErrorContext, to_status, to_status_unlogged};
use crate::api::request;
use crate::broker::{Broker, CredentialRequest, KnownIds, RequestContext};
use crate::error::BrokerError;
use crate::jitter;
use crate::limits::{Admission, Limits};
use crate::pb;
use crate::pb::watch_registry_credentials_response::Event;
use crate::protocol::{MAX_REQUESTS, MAX_WATCHED};
use crate::registry::ResolvedRegistry;

mod registry;

/// The response stream of a watch.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<pb::WatchRegistryCredentialsResponse, Status>> + Send>>;

/// Interval of the checks of a watch: whether the caller is still authenticated, and which registries its grants name.
const CHECK_INTERVAL: Duration = Duration::from_mins(1);

const TOKEN_EXPIRED: &str = "the bearer token has expired since the watch began; watch again with a new one";
const CERTIFICATE_EXPIRED: &str = "the client certificate has expired since the watch began; reconnect with a new one";

/// Memory that one watch takes beside its registries: the stream, its buffers and its task.
const CALL_BYTES: usize = 12 * 1024;
/// Memory that each watched registry takes.
const REGISTRY_BYTES: usize = 2 * 1024;

/// The state of one watch.
struct WatchStream {
    broker: Arc<Broker>,
    limits: Limits,
    call: Arc<Call>,
    context: RequestContext,
    known_ids: KnownIds,
    registries: SelectAll<RegistryEvents>,
    /// For a request without a list: the registries that the caller's grants name and that the watch follows. Else `None`.
    granted: Option<BTreeSet<ResolvedRegistry>>,
    watched: Vec<Admission>,
    /// The registries that are refused, by their indexes, and why. With all refused the watch ends.
    refused: BTreeSet<i32>,
    refusal: Option<BrokerError>,
    snapshot: Snapshot,
    check: Interval,
    end: WatchEnd,
    ended: bool,
}

/// The first event of each registry.
enum Snapshot {
    /// This number of registries has not sent a first event. Until all have, the request counts as in flight.
    Pending {
        registries: usize,
        in_flight: Vec<Arc<Admission>>,
    },
    Complete,
}

/// The end of a watch: its time and its error. Without an error the watch ends with the status OK.
struct WatchEnd {
    at: Instant,
    error: Option<BrokerError>,
}

/// Returns the events of a watch that ends after about `age`. An invalid entry of the request's list becomes an error event at
/// the index of the entry.
pub(super) fn events(
    (broker, limits): (&Arc<Broker>, &Limits),
    admitted: AdmittedCall,
    message: &pb::WatchRegistryCredentialsRequest,
    age: Duration,
) -> Result<Events, BrokerError> {
    let known_ids = decode::known_ids(&message.known_credential_ids)?;
    let mut watch = WatchStream::new(Arc::clone(broker), limits.clone(), admitted, known_ids, age);
    if message.requests.is_empty() {
        watch.granted = Some(BTreeSet::new());
        watch.follow_granted()?;
    } else {
        watch.follow_requested(&message.requests)?;
    }
    Ok(Box::pin(stream::unfold(watch, |mut watch| async {
        let event = watch.next().await?;
        Some((event, watch))
    })))
}

impl WatchStream {
    fn new(broker: Arc<Broker>, limits: Limits, admitted: AdmittedCall, known_ids: KnownIds, age: Duration) -> Self {
        let AdmittedCall { call, context, admission } = admitted;
        let mut check = interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            broker,
            limits,
            end: WatchEnd::of(&call, age),
            call,
            context,
            known_ids,
            registries: SelectAll::new(),
            granted: None,
            watched: Vec::new(),
            refused: BTreeSet::new(),
            refusal: None,
            snapshot: Snapshot::Pending { registries: 0, in_flight: vec![admission] },
            check,
            ended: false,
        }
    }

    /// Follows the registries of a request's list.
    fn follow_requested(&mut self, requests: &[pb::GetRegistryCredentialsRequest]) -> Result<(), BrokerError> {
        if requests.len() > MAX_REQUESTS {
            let problem = format!("a watch names at most {MAX_REQUESTS} registries, this one more");
            return Err(BrokerError::RequestInvalid { field: "requests", problem });
        }
        self.admit(requests.len(), CALL_BYTES + self.known_ids.bytes())?;
        for message in requests {
            match decode::credential_request(&self.broker, &self.context, message) {
                Ok(request) => self.follow(request),
                Err(error) => self.add(registry::rejected(self.next_index(), error, &self.call)),
            }
        }
        Ok(())
    }

    /// Follows the registries that the caller's grants name and that are not followed yet.
    fn follow_granted(&mut self) -> Result<(), BrokerError> {
        let followed = self.granted.get_or_insert_default();
        let new: BTreeSet<_> =
            self.broker.named_registries(&self.context.caller).difference(followed).cloned().collect();
        let followed = followed.len();
        check_count(followed + new.len())?;
        if new.is_empty() {
            return Ok(());
        }
        let in_flight = request::admit(&self.limits, &self.context.caller, new.len())?;
        self.admit(new.len(), if followed == 0 { CALL_BYTES + self.known_ids.bytes() } else { 0 })?;
        if let Snapshot::Pending { in_flight: admissions, .. } = &mut self.snapshot {
            admissions.push(Arc::new(in_flight));
        }
        self.granted.get_or_insert_default().extend(new.iter().cloned());
        for target in new {
            let request = CredentialRequest::new(self.context.clone(), target);
            let context = ErrorContext::of(&request);
            self.follow((request, context));
        }
        Ok(())
    }

    /// Admits watched registries, and the memory that the watch takes beside them.
    fn admit(&mut self, registries: usize, bytes: usize) -> Result<(), BrokerError> {
        let bytes = bytes + self.context.caller.bytes() + registries * REGISTRY_BYTES;
        self.watched.extend(request::admit_watch(&self.limits, &self.context.caller, registries, bytes)?);
        Ok(())
    }

    fn follow(&mut self, request: (CredentialRequest, ErrorContext)) {
        // An alias and its registry share a credential. A client that knows the ID may have it from the registry only,
        // so the first event of an alias always has the whole credential.
        let is_granted_alias = self.granted.is_some() && request.0.target.alias.is_some();
        let known_ids = if is_granted_alias { KnownIds::default() } else { self.known_ids.clone() };
        let (index, broker, call) = (self.next_index(), Arc::clone(&self.broker), Arc::clone(&self.call));
        self.add(WatchedRegistry::new(index, broker, request, known_ids, call).into_events());
    }

    fn add(&mut self, events: RegistryEvents) {
        if let Snapshot::Pending { registries, .. } = &mut self.snapshot {
            *registries += 1;
        }
        self.registries.push(events);
    }

    fn next_index(&self) -> i32 {
        i32::try_from(self.registries.len()).unwrap_or(i32::MAX)
    }

    async fn next(&mut self) -> Option<Result<pb::WatchRegistryCredentialsResponse, Status>> {
        loop {
            if self.ended {
                return None;
            }
            if self.is_refused() {
                return self.refusal.take().map(|error| Err(self.refuse(&error)));
            }
            if matches!(self.snapshot, Snapshot::Pending { registries: 0, .. }) {
                self.snapshot = Snapshot::Complete;
                let event = Some(Event::SnapshotComplete(pb::SnapshotComplete {}));
                return Some(Ok(pb::WatchRegistryCredentialsResponse { index: 0, event }));
            }
            tokio::select! {
                // The end comes first: once it is due, no further event is sent, even if many are ready.
                biased;
                () = sleep_until(self.end.at) => return self.finish().map(Err),
                _ = self.check.tick() => {
                    if let Err(error) = self.revalidate() {
                        return Some(Err(self.fail(&error)));
                    }
                }
                Some(event) = self.registries.next() => return Some(self.send(event)),
            }
        }
    }

    /// Returns an event for the client, whose proof of identity must still be valid.
    fn send(&mut self, event: RegistryEvent) -> Result<pb::WatchRegistryCredentialsResponse, Status> {
        if let Err(error) = self.call.authn.check() {
            return Err(self.fail(&error));
        }
        if let (true, Snapshot::Pending { registries, .. }) = (event.is_first, &mut self.snapshot) {
            *registries = registries.saturating_sub(1);
        }
        self.note_refusal(event.response.index, event.refusal);
        Ok(event.response)
    }

    /// Notes whether a registry is refused. A denial takes precedence over an invalid request.
    fn note_refusal(&mut self, index: i32, refusal: Option<BrokerError>) {
        let Some(error) = refusal else {
            self.refused.remove(&index);
            return;
        };
        self.refused.insert(index);
        if self.refusal != Some(BrokerError::CallerNotAllowed) {
            self.refusal = Some(error);
        }
    }

    /// Checks the proof of the caller's identity, and follows registries that its grants have named since the last check.
    fn revalidate(&mut self) -> Result<(), BrokerError> {
        self.call.authn.check()?;
        if let Some(admission) = self.watched.first() {
            self.limits.keep_alive(&self.context.caller.principal(), admission);
        }
        if self.granted.is_some() && matches!(self.snapshot, Snapshot::Complete) {
            // If a limit rejects the new registries now, the next check tries again.
            _ = self.follow_granted();
        }
        Ok(())
    }

    /// Returns whether every registry is refused, also those that grants have named since the last check.
    fn is_refused(&mut self) -> bool {
        let all = |watch: &Self| !watch.refused.is_empty() && watch.refused.len() == watch.registries.len();
        if all(self) && self.granted.is_some() {
            _ = self.follow_granted();
        }
        all(self)
    }

    /// Ends a watch of which every registry is refused. Each refusal is logged already.
    fn refuse(&mut self, error: &BrokerError) -> Status {
        self.ended = true;
        to_status_unlogged(error, &ErrorContext::default(), &self.call)
    }

    /// Ends a watch at its time. The end of its token or certificate denies nothing: each watch that outlives one ends so.
    fn finish(&mut self) -> Option<Status> {
        self.ended = true;
        let error = self.end.error.take()?;
        let is_proof_end = matches!(error, BrokerError::CallerUnauthenticated { .. });
        let to_status = if is_proof_end { to_status_unlogged } else { to_status };
        Some(to_status(&error, &ErrorContext::default(), &self.call))
    }

    fn fail(&mut self, error: &BrokerError) -> Status {
        self.ended = true;
        to_status(error, &ErrorContext::default(), &self.call)
    }
}

impl WatchEnd {
    /// Returns the first of: the client's deadline, the end of its token or certificate, and the jittered age of the watch.
    fn of(call: &Call, age: Duration) -> Self {
        let now = Instant::now();
        let by_age = Self { at: now + jitter::around(age), error: None };
        let by_deadline = call.client_deadline.map(|at| Self { at, error: Some(BrokerError::Deadline) });
        let of_proof = |left: Option<Duration>, expired| {
            let at = left.and_then(|left| now.checked_add(left))?;
            Some(Self { at, error: Some(BrokerError::unauthenticated(expired)) })
        };
        let by_token = of_proof(call.authn.token_left(), TOKEN_EXPIRED);
        let by_certificate = of_proof(call.authn.certificate_left(), CERTIFICATE_EXPIRED);
        [by_deadline, by_token, by_certificate].into_iter().flatten().fold(by_age, Self::or_earlier)
    }

    fn or_earlier(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }
}

/// Checks the number of registries that a watch without a list would follow.
fn check_count(count: usize) -> Result<(), BrokerError> {
    let problem = match count {
        0 => "none of your grants names a full registry host; list the registries to watch".to_owned(),
        1..=MAX_WATCHED => return Ok(()),
        _ => format!(
            "your grants name {count} registries, more than {MAX_WATCHED}; list the registries in several watches"
        ),
    };
    Err(BrokerError::RequestInvalid { field: "requests", problem })
}
