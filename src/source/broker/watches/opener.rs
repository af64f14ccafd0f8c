//! Watches over the parent's connections: gRPC streams as updates.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Streaming};
use tracing::warn;

use super::{End, KnownKey, WatchItem, WatchOpener};
use crate::client::Failure;
use crate::credential::CredentialId;
use crate::error::{BrokerError, FailureClass, UpstreamError};
use crate::hops::Hops;
use crate::pb::watch_registry_credentials_response::Event;
use crate::pb::{GetRegistryCredentialsRequest, WatchRegistryCredentialsRequest, WatchRegistryCredentialsResponse};
use crate::source::broker::answer::{self, CallTimes};
use crate::source::broker::verdict::{self, Verdict};
use crate::source::broker::{ParentBroker, ParentConnection, request};
use crate::source::push::Pushed;

/// Time limit of the connection and of the response's start.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of the snapshot. The parent's own fetches end within 30 s.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest time of a message on its way: HTTP/2 keepalive ends a connection that is silent longer.
const MAX_TRANSIT: Duration = Duration::from_secs(4);

/// A watch that is read.
struct Reader {
    parent: ParentBroker,
    keys: Vec<KnownKey>,
    stream: Option<Open>,
    has_ended: bool,
}

/// An open stream.
struct Open {
    connection: ParentConnection,
    events: Streaming<WatchRegistryCredentialsResponse>,
    /// The time limit of the snapshot, until it is complete.
    snapshot_by: Option<Instant>,
}

impl WatchOpener for ParentBroker {
    fn open(&self, keys: Vec<KnownKey>) -> BoxStream<'static, WatchItem> {
        let reader = Reader { parent: self.clone(), keys, stream: None, has_ended: false };
        let items = stream::unfold(reader, |mut reader| async {
            let item = reader.next().await?;
            Some((item, reader))
        });
        items.boxed()
    }
}

impl Reader {
    async fn next(&mut self) -> Option<WatchItem> {
        if self.has_ended {
            return None;
        }
        let item = self.read().await.unwrap_or_else(WatchItem::Ended);
        self.has_ended = matches!(item, WatchItem::Ended(_));
        Some(item)
    }

    /// Returns the next item, or how the watch ended.
    async fn read(&mut self) -> Result<WatchItem, End> {
        loop {
            let open = match &mut self.stream {
                Some(open) => open,
                none => none.insert(connect(&self.parent, &self.keys).await?),
            };
            let message = match open.snapshot_by {
                Some(at) => timeout_at(at, open.events.message()).await.map_err(|_| End::Lost)?,
                None => open.events.message().await,
            };
            let message = message.map_err(|status| end(&self.parent, open, &Failure::from(status)))?;
            let Some(WatchRegistryCredentialsResponse { index, event }) = message else { return Err(End::Orderly) };
            if matches!(event, Some(Event::SnapshotComplete(_))) {
                open.snapshot_by = None;
                open.connection.answered();
                return Ok(WatchItem::SnapshotComplete);
            }
            if let (Some(event), Ok(index)) = (event, usize::try_from(index))
                && let Some(pushed) = self.pushed(index, event)
            {
                return Ok(WatchItem::Update(index, Box::new(pushed)));
            }
        }
    }

    /// Returns the update of an event. An unusable one counts as a failure of the parent (P12).
    fn pushed(&self, index: usize, event: Event) -> Option<Pushed> {
        let (key, _) = self.keys.get(index)?;
        let update = match event {
            Event::Credentials(credentials) => {
                let received = self.parent.clock.now();
                let sent = received.before(MAX_TRANSIT);
                let times = CallTimes { sent, received };
                answer::of_message(self.parent.source(), key, credentials, times).map(Pushed::Credential)
            }
            Event::UnchangedCredentialId(id) => {
                CredentialId::parse(&id).map(Pushed::Unchanged).ok_or_else(|| "its credential ID is malformed".into())
            }
            Event::Error(error) => Ok(Pushed::Failed(self.failure(&Failure::from(error)))),
            Event::SnapshotComplete(_) => return None,
        };
        Some(update.unwrap_or_else(|why| self.refuse(&why)))
    }

    fn failure(&self, failure: &Failure) -> BrokerError {
        match verdict::of(&self.parent.name, (Duration::ZERO, &Hops::default()), failure) {
            Verdict::Answered(error) => error.into(),
            Verdict::Lost(error) | Verdict::Elsewhere(error) => error.into(),
        }
    }

    fn refuse(&self, why: &str) -> Pushed {
        if self.parent.refused_updates.is_due(self.parent.clock.now().steady) {
            warn!(parent = %self.parent.name, why, "parent's update refused");
        }
        Pushed::Failed(UpstreamError::new(self.parent.source(), FailureClass::InvalidResponse).into())
    }
}

async fn connect(parent: &ParentBroker, keys: &[KnownKey]) -> Result<Open, End> {
    let connection = parent.connection().await.map_err(|_| End::Lost)?;
    let mut message = connection.request(message(keys)).await.map_err(|_| End::Lost)?;
    // A watch of this broker, not of a child. Its parents refuse it if they are its children.
    _ = request::add_hops(message.metadata_mut(), &Hops::default(), parent.own);
    let opened = timeout(OPEN_TIMEOUT, connection.service().watch_registry_credentials(message)).await;
    match opened.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer"))) {
        Ok(response) => {
            let snapshot_by = Some(Instant::now() + SNAPSHOT_TIMEOUT);
            Ok(Open { connection, events: response.into_inner(), snapshot_by })
        }
        Err(status) => Err(end_of_call(parent, &connection, &Failure::from(status))),
    }
}

fn message(keys: &[KnownKey]) -> WatchRegistryCredentialsRequest {
    let request = |(key, _): &KnownKey| GetRegistryCredentialsRequest {
        target: Some(request::target(&key.registry)),
        profile: request::profile(key),
        ..GetRegistryCredentialsRequest::default()
    };
    WatchRegistryCredentialsRequest {
        requests: keys.iter().map(request).collect(),
        known_credential_ids: keys.iter().map(|(_, id)| id.to_string()).collect(),
    }
}

/// Returns how a stream ended. A token that has expired since its start is replaced by the next one.
fn end(parent: &ParentBroker, open: &Open, failure: &Failure) -> End {
    let was_complete = open.snapshot_by.is_none();
    if failure.code == Code::Unauthenticated && was_complete {
        return End::Orderly;
    }
    end_of_call(parent, &open.connection, failure)
}

fn end_of_call(parent: &ParentBroker, connection: &ParentConnection, failure: &Failure) -> End {
    match verdict::of(&parent.name, (Duration::ZERO, &Hops::default()), failure) {
        Verdict::Answered(_) if failure.code == Code::Unavailable => End::Lost,
        Verdict::Answered(_) => End::Refused { retry_after: failure.retry_after },
        Verdict::Lost(_) | Verdict::Elsewhere(_) => {
            connection.failed(&failure.to_string());
            let (known, left_aside) = parent.addresses();
            let has_other = known > left_aside;
            let is_drain = failure.reason.as_deref() == Some("SHUTTING_DOWN");
            if is_drain && has_other { End::Orderly } else { End::Lost }
        }
    }
}
