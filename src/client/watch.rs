//! Following registries for as long as one likes, whatever becomes of the broker meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Streaming;

use super::failure::Failure;
use super::query::Query;
use super::{LARGEST_ANSWER, Link, Settings, authorized};
use crate::pb;
use crate::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use crate::pb::watch_registry_credentials_response::Event;
use crate::pb::{RegistryCredentials, RegistryType};

/// What a request takes.
const MOST_KNOWN: usize = 1_000;
/// All who watch a broker lose it together, and are not to come back together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What happens in a watch.
#[derive(Debug)]
pub enum WatchEvent {
    /// A registry has a credential that it had not.
    Credentials(Box<RegistryCredentials>),
    /// The credential of this registry, which was given before and has this id, is good still.
    Unchanged(String, String),
    /// For this registry, as it was asked for, no new one can be had now.
    Failed(String, Failure),
    /// Every registry has been heard of since the watch began, or began anew.
    Complete,
    /// The watch broke. It begins anew, after a pause, when one asks on.
    Broken(Failure),
    /// The broker ended the watch in good order; it begins anew.
    Ended,
    /// Something that this program knows nothing of.
    Unknown,
}

/// A credential that was given.
#[derive(Debug)]
struct Held {
    registry: String,
    id: String,
    /// Given under a name that is not ECR's own. Where nothing was asked for by name, such a one is always given anew.
    by_alias: bool,
}

/// A watch that begins anew whenever it ends.
#[derive(Debug)]
pub struct Watch<'a> {
    settings: &'a Settings,
    queries: &'a [Query],
    events: Option<Streaming<pb::WatchRegistryCredentialsResponse>>,
    /// What was given, by the place of its query; by its registry, where nothing was asked for by name.
    held: BTreeMap<String, Held>,
    /// Up to how long it waited last before it began anew.
    pause: Option<Duration>,
    /// When it begins anew; at first at once.
    begins: Option<Instant>,
}

impl<'a> Watch<'a> {
    /// Of these; of none: all that the broker's grants name for this caller.
    #[must_use]
    pub fn new(settings: &'a Settings, queries: &'a [Query]) -> Self {
        Self { settings, queries, events: None, held: BTreeMap::new(), pause: None, begins: None }
    }

    /// What happens next. Nothing is lost where this is given up and called again.
    pub async fn next(&mut self) -> WatchEvent {
        let events = match &mut self.events {
            Some(events) => events,
            none => match begin(self.settings, self.queries, &self.held, self.begins).await {
                Ok(events) => none.insert(events),
                Err(failure) => return self.broken(failure),
            },
        };
        match events.message().await {
            Ok(Some(pb::WatchRegistryCredentialsResponse { index, event: Some(event) })) => self.happened(index, event),
            // Of a kind that came after this program.
            Ok(Some(_)) => WatchEvent::Unknown,
            Ok(None) => self.ended(),
            Err(status) => self.broken(Failure::from_status(&status)),
        }
    }

    /// The credential of this registry is not held any more: it is to be sent again, however good it is.
    pub fn forget(&mut self, registry: &str) {
        let id = self.held.values().find(|held| held.registry == registry).map(|held| held.id.clone());
        if let Some(id) = id {
            self.forget_credential(&id);
        }
    }

    /// Under every name that it has.
    fn forget_credential(&mut self, id: &str) {
        self.held.retain(|_, held| held.id != id);
        if self.events.take().is_some() {
            self.begins = Some(Instant::now() + FIRST_PAUSE.mul_f64(fastrand::f64()));
        }
    }

    fn happened(&mut self, index: i32, event: Event) -> WatchEvent {
        match event {
            Event::Credentials(credentials) => {
                let key = if self.queries.is_empty() { credentials.registry.clone() } else { index.to_string() };
                let (registry, id) = (credentials.registry.clone(), credentials.credential_id.clone());
                self.held.insert(key, Held { registry, id, by_alias: is_alias(&credentials) });
                WatchEvent::Credentials(Box::new(credentials))
            }
            Event::UnchangedCredentialId(id) => self.unchanged(index, id),
            Event::Error(error) => {
                let asked = usize::try_from(index).ok().and_then(|index| self.queries.get(index));
                let failure = Failure::from(error);
                let named = asked.map(|query| query.registry.clone()).or_else(|| failure.registry.clone());
                WatchEvent::Failed(named.unwrap_or_default(), failure)
            }
            Event::SnapshotComplete(_) => {
                self.pause = None;
                WatchEvent::Complete
            }
        }
    }

    /// One that was given under another name alone was never given for this one.
    fn unchanged(&mut self, index: i32, id: String) -> WatchEvent {
        let held = if self.queries.is_empty() {
            self.held.values().find(|held| held.id == id && !held.by_alias)
        } else {
            self.held.get(&index.to_string()).filter(|held| held.id == id)
        };
        if let Some(Held { registry, .. }) = held {
            return WatchEvent::Unchanged(registry.clone(), id);
        }
        self.forget_credential(&id);
        WatchEvent::Ended
    }

    fn broken(&mut self, failure: Failure) -> WatchEvent {
        self.begin_anew_after(failure.retry_after.unwrap_or_default());
        WatchEvent::Broken(failure)
    }

    fn ended(&mut self) -> WatchEvent {
        self.begin_anew_after(Duration::ZERO);
        WatchEvent::Ended
    }

    /// And a while, which is not the same for all, and longer each time that it does not come to a whole snapshot.
    fn begin_anew_after(&mut self, wait: Duration) {
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        (self.events, self.pause) = (None, Some(pause));
        self.begins = Some(Instant::now() + wait.max(SHORTEST_PAUSE) + pause.mul_f64(fastrand::f64()));
    }
}

fn is_alias(credentials: &RegistryCredentials) -> bool {
    match credentials.registry_type() {
        RegistryType::Public => !["public.ecr.aws", "ecr-public.aws.com"].contains(&credentials.registry.as_str()),
        _ => !credentials.registry.starts_with(&format!("{}.dkr", credentials.account_id)),
    }
}

async fn begin(
    settings: &Settings,
    queries: &[Query],
    held: &BTreeMap<String, Held>,
    begins: Option<Instant>,
) -> Result<Streaming<pb::WatchRegistryCredentialsResponse>, Failure> {
    if let Some(begins) = begins {
        sleep_until(begins).await;
    }
    let deadline = Instant::now() + settings.timeout;
    let link = Link::make(settings, deadline).await?;
    let client = RegistryCredentialsServiceClient::new(link.channel.clone());
    let mut client = client.max_decoding_message_size(LARGEST_ANSWER);
    let known = held.values().filter(|held| !(queries.is_empty() && held.by_alias));
    let request = pb::WatchRegistryCredentialsRequest {
        requests: queries.iter().map(Into::into).collect(),
        known_credential_ids: known.take(MOST_KNOWN).map(|held| held.id.clone()).collect(),
    };
    // Its answer has no end, but it has to begin.
    let answer = client.watch_registry_credentials(authorized(request, &link.address, settings)?);
    let answer = timeout_at(deadline, answer).await.map_err(|_| Failure::late())?;
    Ok(answer?.into_inner())
}
