//! A watch as a stream of events: of each registry the latest only, and only when its caller takes it.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, SelectAll};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tonic::Status;

use super::middleware::Call;
use super::status::{self, Subject, refuse};
use super::{Admitted, LARGEST_BATCH, RegistryCredentials, message};
use crate::broker::{Broker, CredentialRequest, Watch, WatchUpdate};
use crate::caller::Caller;
use crate::credential::CredentialId;
use crate::error::BrokerError;
use crate::limits::{Admission, LimitExceeded, Limits};
use crate::pb;
use crate::pb::watch_registry_credentials_response::Event;
use crate::registry::Named;

/// What a watch answers.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<pb::WatchRegistryCredentialsResponse, Status>> + Send>>;

/// How many credentials a watcher may name that it holds.
const MOST_KNOWN: usize = 1_000;
/// How many registries one watch follows that its caller has not named.
const MOST_NAMED: usize = MOST_KNOWN;
/// How often it is looked whether the caller is still who it was, and may have what it may.
const INTERVAL: Duration = Duration::from_mins(1);

/// One watch.
struct Watching {
    broker: Arc<Broker>,
    limits: Limits,
    call: Arc<Call>,
    caller: Caller,
    known: Arc<HashSet<CredentialId>>,
    following: SelectAll<BoxStream<'static, Happened>>,
    /// What is followed because grants name it, where the caller named nothing.
    named: Option<BTreeSet<Named>>,
    places: Vec<Admission>,
    /// How many of the snapshot's registries have had no event yet.
    snapshot: Option<usize>,
    /// The right to ask for them.
    asking: Vec<Arc<Admission>>,
    tick: Interval,
    ends: (Instant, Option<BrokerError>),
    ended: bool,
}

/// Something that has become of one of the registries.
struct Happened {
    response: pb::WatchRegistryCredentialsResponse,
    is_first: bool,
}

/// One registry of a watch.
struct Followed {
    index: i32,
    watch: Watch,
    subject: Subject,
    call: Arc<Call>,
    is_first: bool,
}

impl RegistryCredentials {
    /// The events of a watch. What is wrong with one of its requests is an event of that.
    pub(super) fn watched(
        &self,
        Admitted { call, caller, admission }: Admitted,
        request: &pb::WatchRegistryCredentialsRequest,
    ) -> Result<Events, BrokerError> {
        let mut watching = Watching {
            known: Arc::new(known(&request.known_credential_ids)?),
            ends: ends(&call, self.watch_age),
            broker: Arc::clone(&self.broker),
            limits: self.limits.clone(),
            call: Arc::new(call),
            caller,
            following: SelectAll::new(),
            named: request.requests.is_empty().then(BTreeSet::new),
            places: Vec::new(),
            snapshot: None,
            asking: vec![admission],
            tick: interval(INTERVAL),
            ended: false,
        };
        watching.tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if request.requests.is_empty() {
            watching.follow_named()?;
        } else {
            self.follow(&mut watching, &request.requests)?;
        }
        watching.snapshot = Some(watching.following.len());
        Ok(Box::pin(stream::unfold(watching, |mut watching| async {
            let event = watching.next().await?;
            Some((event, watching))
        })))
    }

    fn follow(
        &self,
        watching: &mut Watching,
        requests: &[pb::GetRegistryCredentialsRequest],
    ) -> Result<(), BrokerError> {
        if requests.len() > LARGEST_BATCH {
            let problem = format!("a watch names at most {LARGEST_BATCH} registries, this one {}", requests.len());
            return Err(BrokerError::RequestInvalid { field: "requests", problem });
        }
        watching.take_places(requests.len())?;
        for request in requests {
            let mut subject = Subject::default();
            match self.understand(request, &watching.call, &watching.caller, &mut subject) {
                Ok(request) => watching.begin(request, subject),
                Err(error) => watching.refuse(&error, &subject),
            }
        }
        Ok(())
    }
}

impl Watching {
    async fn next(&mut self) -> Option<Result<pb::WatchRegistryCredentialsResponse, Status>> {
        loop {
            if self.ended {
                return None;
            }
            if self.snapshot == Some(0) {
                self.snapshot = None;
                self.asking.clear();
                let event = Some(Event::SnapshotComplete(pb::SnapshotComplete {}));
                return Some(Ok(pb::WatchRegistryCredentialsResponse { index: 0, event }));
            }
            tokio::select! {
                // Its end first: nothing is said after it, however much there is to say.
                biased;
                () = sleep_until(self.ends.0) => {
                    self.ended = true;
                    return self.ends.1.take().map(|error| Err(refuse(&error, &Subject::default(), &self.call)));
                }
                _ = self.tick.tick() => {
                    if let Err(error) = self.look_around() {
                        return Some(Err(self.end(&error)));
                    }
                }
                Some(happened) = self.following.next() => return Some(self.tell(happened)),
            }
        }
    }

    /// Nothing goes to somebody who is not known any more.
    fn tell(
        &mut self,
        Happened { response, is_first }: Happened,
    ) -> Result<pb::WatchRegistryCredentialsResponse, Status> {
        if let Err(error) = self.call.standing.check() {
            return Err(self.end(&error));
        }
        if let (true, Some(left)) = (is_first, &mut self.snapshot) {
            *left = left.saturating_sub(1);
        }
        Ok(response)
    }

    fn look_around(&mut self) -> Result<(), BrokerError> {
        self.call.standing.check()?;
        if let Some(place) = self.places.first() {
            self.limits.keep_in_mind(&self.caller.principal(), place);
        }
        if self.named.is_some() && self.snapshot.is_none() {
            // What there is no room for now may find some later.
            _ = self.follow_named();
        }
        Ok(())
    }

    fn end(&mut self, error: &BrokerError) -> Status {
        self.ended = true;
        refuse(error, &Subject::default(), &self.call)
    }

    /// Begins to follow what grants name, as far as that is not followed yet.
    fn follow_named(&mut self) -> Result<(), BrokerError> {
        let is_first = self.named.as_ref().is_none_or(BTreeSet::is_empty);
        let followed = self.named.get_or_insert_default();
        let new: BTreeSet<_> = self.broker.named_registries(&self.caller).difference(followed).cloned().collect();
        if followed.is_empty() && new.is_empty() {
            let problem = "no grant names a whole registry host that you may have, so name those to watch".to_owned();
            return Err(BrokerError::RequestInvalid { field: "requests", problem });
        }
        let count = followed.len() + new.len();
        if count > MOST_NAMED {
            let problem =
                format!("{count} registries are named by your grants; name those to watch, in several watches");
            return Err(BrokerError::RequestInvalid { field: "requests", problem });
        }
        if let Some(count) = u32::try_from(new.len()).ok().and_then(NonZeroU32::new) {
            let asking = self.limits.admit(&self.caller.principal(), count)?;
            if is_first {
                self.asking.push(Arc::new(asking));
            }
        }
        self.take_places(new.len())?;
        for named in new {
            let subject = Subject::of(&named.registry, "");
            let subject = named.alias.iter().fold(subject, |subject, alias| subject.known_as(alias));
            self.begin(self.request_for(named.clone()), subject);
            self.named.get_or_insert_default().insert(named);
        }
        Ok(())
    }

    fn request_for(&self, Named { registry, alias }: Named) -> CredentialRequest {
        CredentialRequest {
            caller: self.caller.clone(),
            registry,
            alias,
            profile: String::new(),
            min_validity: Duration::ZERO,
            rejected: None,
            request: self.call.id,
            trace: self.call.trace.map(|trace| trace.to_string()),
        }
    }

    fn take_places(&mut self, count: usize) -> Result<(), BrokerError> {
        let Some(count) = u32::try_from(count).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        self.places.push(self.limits.admit_watch(&self.caller.principal(), count).map_err(too_many)?);
        Ok(())
    }

    fn begin(&mut self, request: CredentialRequest, subject: Subject) {
        // A registry and its alias have the same credential: who holds it for one has yet to hear of the other.
        let by_alias = self.named.is_some() && request.alias.is_some();
        let known = if by_alias { Arc::default() } else { Arc::clone(&self.known) };
        let watch = Watch::new(Arc::clone(&self.broker), request, known);
        let followed =
            Followed { index: self.next_index(), watch, subject, call: Arc::clone(&self.call), is_first: true };
        let events = stream::unfold(followed, |mut followed| async {
            let happened = followed.next().await;
            Some((happened, followed))
        });
        self.following.push(events.boxed());
    }

    /// A request that says nothing sensible: it is told so, and that is all that will ever become of it.
    fn refuse(&mut self, error: &BrokerError, subject: &Subject) {
        let event = Event::Error(status::message(&refuse(error, subject, &self.call)));
        let response = pb::WatchRegistryCredentialsResponse { index: self.next_index(), event: Some(event) };
        let happened = std::future::ready(Happened { response, is_first: true });
        self.following.push(happened.into_stream().chain(stream::pending()).boxed());
    }

    fn next_index(&self) -> i32 {
        i32::try_from(self.following.len()).unwrap_or(i32::MAX)
    }
}

impl Followed {
    async fn next(&mut self) -> Happened {
        let event = match self.watch.next().await {
            WatchUpdate::Released(released) => Event::Credentials(message(*released)),
            WatchUpdate::Unchanged(id) => Event::UnchangedCredentialId(id.to_string()),
            // The fetch has its own line, and many may watch.
            WatchUpdate::Failed(error @ BrokerError::Upstream(_)) => {
                Event::Error(status::message(&status::quietly(&error, &self.subject, &self.call)))
            }
            WatchUpdate::Failed(error) => Event::Error(status::message(&refuse(&error, &self.subject, &self.call))),
        };
        let response = pb::WatchRegistryCredentialsResponse { index: self.index, event: Some(event) };
        Happened { response, is_first: std::mem::take(&mut self.is_first) }
    }
}

fn too_many(excess: LimitExceeded) -> BrokerError {
    match excess {
        LimitExceeded::PerCaller(retry_after) => BrokerError::CallerRateLimited {
            what: "you watch more registries than the broker lets one caller watch",
            retry_after,
        },
        LimitExceeded::Global(retry_after) => BrokerError::Overloaded { of_what: "watched registries", retry_after },
    }
}

/// When a watch ends, and by which error: at its caller's own deadline, with the proof of who that is, or well, at its age, which is not the same
/// for all that begin together.
fn ends(call: &Call, age: Duration) -> (Instant, Option<BrokerError>) {
    let old = (Instant::now() + age.mul_f64(0.9 + 0.2 * fastrand::f64()), None);
    let late = call.own_deadline.map(|deadline| (deadline, Some(BrokerError::Deadline)));
    let expired = "the bearer token has expired since the watch began; watch again with a new one";
    let token_ends = call.standing.token_left().and_then(|left| Instant::now().checked_add(left));
    let unknown = token_ends.map(|end| (end, Some(BrokerError::unauthenticated(expired))));
    [late, unknown].into_iter().flatten().fold(old, |first, other| if other.0 < first.0 { other } else { first })
}

fn known(ids: &[String]) -> Result<HashSet<CredentialId>, BrokerError> {
    let field = "known_credential_ids";
    if ids.len() > MOST_KNOWN {
        let problem = format!("there are {} of them; name at most {MOST_KNOWN}", ids.len());
        return Err(BrokerError::RequestInvalid { field, problem });
    }
    let parsed = ids.iter().map(|id| CredentialId::parse(id)).collect::<Option<_>>();
    parsed.ok_or_else(|| BrokerError::RequestInvalid {
        field,
        problem: "one of them is not the credential_id of a credential: those are 32 hexadecimal digits".to_owned(),
    })
}
