//! Watch of registries that reconnects with jittered backoff.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tonic::{Code, Streaming};

use super::Client;
use super::answer;
use super::connection::Connection;
use super::dialer::{Dialer, Persistence};
use super::failure::Failure;
use super::query::Query;
use super::settings::Settings;
use crate::jitter;
use crate::pb::watch_registry_credentials_response::Event;
use crate::pb::{RegistryCredentials, WatchRegistryCredentialsRequest, WatchRegistryCredentialsResponse};
use crate::protocol::MAX_KNOWN_IDS;
use crate::registry::Registry;

/// Shortest wait before a reconnect.
const MIN_WAIT: Duration = Duration::from_millis(100);
/// Upper end of the random wait before a reconnect. When a broker stops, all its watchers reconnect; the jitter spreads their
/// connections over time.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// An event of a watch.
#[derive(Debug)]
pub enum WatchEvent {
    /// A registry has a new credential.
    Credentials(Box<RegistryCredentials>),
    /// The known credential of a registry is still valid: the registry and the credential ID.
    Unchanged(String, String),
    /// A registry, as the query names it, has no new credential.
    RegistryFailed(String, Failure),
    /// Every registry has had an event since the watch connected.
    SnapshotComplete,
    /// The connection or the call failed; the watch reconnects on the next call.
    WatchFailed(Failure),
    /// The broker ended the watch without an error, such as at its maximum age. The watch reconnects on the next call.
    Ended,
    /// An event that a newer broker sends.
    Unknown,
}

/// A credential that this watch has received.
#[derive(Debug)]
struct KnownCredential {
    registry: String,
    id: String,
    /// Whether it was sent under an alias. A watch of all granted registries gets such a credential again after each
    /// reconnect.
    by_alias: bool,
}

/// A watch that reconnects whenever it ends.
#[derive(Debug)]
pub struct Watch<'a> {
    dialer: Dialer<'a>,
    queries: &'a [Query],
    events: Option<Streaming<WatchRegistryCredentialsResponse>>,
    /// Received credentials by the index of their query; without queries, by the registry.
    known: BTreeMap<String, KnownCredential>,
    /// Upper end of the last random wait.
    backoff: Option<Duration>,
    /// Time of the next reconnect; the first connection is made at once.
    reconnect_at: Option<Instant>,
}

impl<'a> Watch<'a> {
    /// Watches the queries; without queries, every registry that the broker's grants name for this caller.
    #[must_use]
    pub fn new(settings: &'a Settings, queries: &'a [Query]) -> Self {
        let dialer = Dialer::new(settings);
        Self { dialer, queries, events: None, known: BTreeMap::new(), backoff: None, reconnect_at: None }
    }

    /// Returns the next event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> WatchEvent {
        let events = match &mut self.events {
            Some(events) => events,
            none => match open(&mut self.dialer, message(self.queries, &self.known), self.reconnect_at).await {
                Ok(events) => none.insert(events),
                Err(failure) => return self.failed(failure),
            },
        };
        match events.message().await {
            Ok(Some(WatchRegistryCredentialsResponse { index, event: Some(event) })) => self.received(index, event),
            Ok(Some(_)) => WatchEvent::Unknown,
            Ok(None) => self.ended(),
            // The token or certificate ended: the next one opens the watch again.
            Err(status) if status.code() == Code::Unauthenticated && self.dialer.renews_proof() => self.ended(),
            Err(status) => self.failed(Failure::from(status)),
        }
    }

    /// Forgets the credential of a registry, so that the broker sends it again even if it is still valid.
    pub fn forget(&mut self, registry: &str) {
        let id = self.known.values().find(|known| known.registry == registry).map(|known| known.id.clone());
        if let Some(id) = id {
            self.forget_credential(&id);
        }
    }

    /// Forgets a credential under all its names and reconnects, because only a new request tells the broker.
    fn forget_credential(&mut self, id: &str) {
        self.known.retain(|_, known| known.id != id);
        if self.events.take().is_some() {
            self.reconnect_at = Some(Instant::now() + jitter::up_to(FIRST_BACKOFF));
        }
    }

    fn received(&mut self, index: i32, event: Event) -> WatchEvent {
        match event {
            Event::Credentials(credentials) => self.remember(index, credentials),
            Event::UnchangedCredentialId(id) => self.unchanged(index, id),
            Event::Error(error) => {
                let query = usize::try_from(index).ok().and_then(|index| self.queries.get(index));
                let failure = Failure::from(error);
                let registry = query.map(|query| query.registry.clone()).or_else(|| failure.registry().cloned());
                WatchEvent::RegistryFailed(registry.unwrap_or_default(), failure)
            }
            Event::SnapshotComplete(_) => {
                self.backoff = None;
                WatchEvent::SnapshotComplete
            }
        }
    }

    /// Ends the watch if the credentials are for a registry that it does not watch.
    fn remember(&mut self, index: i32, credentials: RegistryCredentials) -> WatchEvent {
        let checked = match usize::try_from(index).ok().and_then(|index| self.queries.get(index)) {
            Some(query) => answer::for_query(query, credentials),
            None if self.queries.is_empty() => answer::for_grants(credentials),
            None => Err(Failure::invalid_response("invalid answer: it is for no request; check the address")),
        };
        let credentials = match checked {
            Ok(credentials) => credentials,
            Err(failure) => return self.failed(failure),
        };
        let key = if self.queries.is_empty() { credentials.registry.clone() } else { index.to_string() };
        let (registry, id) = (credentials.registry.clone(), credentials.credential_id.clone());
        self.known.insert(key, KnownCredential { registry, id, by_alias: is_alias(&credentials) });
        WatchEvent::Credentials(Box::new(credentials))
    }

    /// Matches an ID to its registry. A credential that arrived only under an alias does not count for the registry's own name.
    fn unchanged(&mut self, index: i32, id: String) -> WatchEvent {
        let known = if self.queries.is_empty() {
            self.known.values().find(|known| known.id == id && !known.by_alias)
        } else {
            self.known.get(&index.to_string()).filter(|known| known.id == id)
        };
        if let Some(KnownCredential { registry, .. }) = known {
            return WatchEvent::Unchanged(registry.clone(), id);
        }
        self.forget_credential(&id);
        WatchEvent::Ended
    }

    fn failed(&mut self, failure: Failure) -> WatchEvent {
        self.schedule_reconnect(failure.retry_after.unwrap_or_default());
        WatchEvent::WatchFailed(failure)
    }

    fn ended(&mut self) -> WatchEvent {
        self.schedule_reconnect(Duration::ZERO);
        WatchEvent::Ended
    }

    /// Schedules the reconnect after `wait` plus a random part of the backoff, which doubles until a snapshot completes.
    fn schedule_reconnect(&mut self, wait: Duration) {
        let backoff = self.backoff.map_or(FIRST_BACKOFF, |backoff| (backoff * 2).min(MAX_BACKOFF));
        (self.events, self.backoff) = (None, Some(backoff));
        self.reconnect_at = Some(Instant::now() + wait.max(MIN_WAIT) + jitter::up_to(backoff));
    }
}

/// Returns whether the credentials were sent under an alias. An alias is never an ECR host.
fn is_alias(credentials: &RegistryCredentials) -> bool {
    credentials.registry.parse::<Registry>().is_err()
}

fn message(queries: &[Query], known: &BTreeMap<String, KnownCredential>) -> WatchRegistryCredentialsRequest {
    let known = known.values().filter(|known| !(queries.is_empty() && known.by_alias));
    WatchRegistryCredentialsRequest {
        requests: queries.iter().map(Into::into).collect(),
        known_credential_ids: known.take(MAX_KNOWN_IDS).map(|known| known.id.clone()).collect(),
    }
}

/// Connects at the time `at` and starts the stream. The timeout covers the start only: the stream itself has no end.
async fn open(
    dialer: &mut Dialer<'_>,
    message: WatchRegistryCredentialsRequest,
    at: Option<Instant>,
) -> Result<Streaming<WatchRegistryCredentialsResponse>, Failure> {
    let Some(at) = at else { return open_first(dialer, message).await };
    sleep_until(at).await;
    let connection = dialer.open(Instant::now(), dialer.deadline(), Persistence::Once).await?;
    start(connection, message).await
}

/// Waits for a broker, as other calls do. Later the watch has its own backoff, which is longer: all watchers lose a broker together.
async fn open_first(
    dialer: &mut Dialer<'_>,
    message: WatchRegistryCredentialsRequest,
) -> Result<Streaming<WatchRegistryCredentialsResponse>, Failure> {
    let connection = dialer.open(Instant::now(), dialer.deadline(), Persistence::UntilDeadline).await?;
    let mut client = Client { dialer: dialer.clone(), connection };
    let events = client.call(|connection| start(connection, message.clone())).await;
    *dialer = client.dialer;
    events
}

async fn start(
    connection: Connection<'_>,
    message: WatchRegistryCredentialsRequest,
) -> Result<Streaming<WatchRegistryCredentialsResponse>, Failure> {
    let service = || connection.service();
    let call = |request| async move { service().watch_registry_credentials(request).await };
    connection.stream(message, call).await
}
