//! The events of one watched registry.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};

use crate::api::grpc::call::Call;
use crate::api::grpc::encode;
use crate::api::grpc::status::{self, ErrorContext, to_status, to_status_unlogged};
use crate::broker::{Broker, CredentialRequest, KnownIds, Watch, WatchUpdate};
use crate::error::BrokerError;
use crate::pb;
use crate::pb::watch_registry_credentials_response::Event;

/// An event of one registry.
pub(super) struct RegistryEvent {
    pub(super) response: pb::WatchRegistryCredentialsResponse,
    /// Whether this is the registry's first event, which belongs to the snapshot.
    pub(super) is_first: bool,
    /// Why the registry has no credential, if only other grants or another request can change that.
    pub(super) refusal: Option<BrokerError>,
}

/// The events of one registry, without an end.
pub(super) type RegistryEvents = BoxStream<'static, RegistryEvent>;

/// A registry of a watch.
pub(super) struct WatchedRegistry {
    index: i32,
    watch: Watch,
    context: ErrorContext,
    call: Arc<Call>,
    is_first: bool,
}

impl WatchedRegistry {
    pub(super) fn new(
        index: i32,
        broker: Arc<Broker>,
        (request, context): (CredentialRequest, ErrorContext),
        known_ids: KnownIds,
        call: Arc<Call>,
    ) -> Self {
        Self { index, watch: Watch::new(broker, request, known_ids), context, call, is_first: true }
    }

    pub(super) fn into_events(self) -> RegistryEvents {
        let events = stream::unfold(self, |mut registry| async {
            let event = registry.next().await;
            Some((event, registry))
        });
        events.boxed()
    }

    async fn next(&mut self) -> RegistryEvent {
        let mut refusal = None;
        let event = match self.watch.next().await {
            WatchUpdate::Released(released) => Event::Credentials(encode::credentials(*released)),
            WatchUpdate::Unchanged(id) => Event::UnchangedCredentialId(id.to_string()),
            WatchUpdate::Failed(error) => {
                refusal = is_refusal(&error).then(|| error.clone());
                Event::Error(status::to_message(&self.status(&error)))
            }
        };
        let response = pb::WatchRegistryCredentialsResponse { index: self.index, event: Some(event) };
        RegistryEvent { response, is_first: std::mem::take(&mut self.is_first), refusal }
    }

    fn status(&self, error: &BrokerError) -> tonic::Status {
        match error {
            // The fetch or the queue has its own log line, and many clients may watch the registry.
            BrokerError::Upstream(_) | BrokerError::QueueFull { .. } => {
                to_status_unlogged(error, &self.context, &self.call)
            }
            _ => to_status(error, &self.context, &self.call),
        }
    }
}

/// Returns whether only another call can have the registry's credential.
fn is_refusal(error: &BrokerError) -> bool {
    matches!(error, BrokerError::CallerNotAllowed | BrokerError::CallerUnauthenticated { .. })
}

/// Returns the events of an invalid request: its error, and nothing after it.
pub(super) fn rejected(index: i32, error: BrokerError, call: &Call) -> RegistryEvents {
    let event = Event::Error(status::to_message(&to_status(&error, &ErrorContext::default(), call)));
    let response = pb::WatchRegistryCredentialsResponse { index, event: Some(event) };
    let only = std::future::ready(RegistryEvent { response, is_first: true, refusal: Some(error) });
    only.into_stream().chain(stream::pending()).boxed()
}
