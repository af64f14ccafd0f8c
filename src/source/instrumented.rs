//! Tracing layer: one span for each fetch, whichever source serves it.

use std::time::Duration;

use tracing::{Instrument as _, Span, field};

use super::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity};
use crate::credential::{Credential, CredentialKey, SourceName};
use crate::registry::Registry;
use crate::request_id::RequestId;
use crate::trace::SpanIdentity;

/// A layer that runs each fetch in its own span. Layers below it record attributes through [`Span::current`].
#[derive(Debug)]
pub struct Instrumented<S> {
    source: S,
}

impl<S: CredentialSource> Instrumented<S> {
    /// Wraps `source`.
    #[must_use]
    pub fn new(source: S) -> Self {
        Self { source }
    }
}

impl<S: CredentialSource> CredentialSource for Instrumented<S> {
    fn identity(&self) -> &dyn SourceIdentity {
        self.source.identity()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        let name = self.source.identity().name();
        let span = fetch_span(&name, &request.key, request.request_id, request.parent_span.as_ref());
        request.span.start(&span);
        let fetch = async {
            let result = self.source.fetch(request).await;
            if let Ok(credential) = &result {
                Span::current().record("credential.source", credential.source().id());
            }
            result
        };
        Box::pin(fetch.instrument(span))
    }

    fn regions(&self) -> Vec<RegionStatus> {
        self.source.regions()
    }

    fn fetch_budget(&self) -> Duration {
        self.source.fetch_budget()
    }
}

/// Creates the span with a target. Only spans with the target `ecr_broker::source` are exported. A macro, because tracing accepts
/// only a literal target.
macro_rules! fetch_span {
    ($target:literal, $source:expr, $key:expr, $request_id:expr) => {{
        let (system, method) = call($source, $key);
        tracing::info_span!(
            target: $target,
            parent: None,
            "upstream call",
            otel.name = method,
            otel.kind = "client",
            otel.status_code = field::Empty,
            rpc.system.name = system,
            rpc.method = method,
            rpc.response.status_code = field::Empty,
            source = $source.id(),
            cloud.account.id = $key.registry.account().map(field::display),
            cloud.region = $key.registry.region().map(field::display),
            credential.source = field::Empty,
            aws.request_id = field::Empty,
            aws.error_code = field::Empty,
            error.r#type = field::Empty,
            profile = %$key.profile,
            request_id = %$request_id,
            trace_id = field::Empty,
        )
    }};
}

/// Creates the span of one fetch. It is exported only if its parent is, so that no trace begins with a fetch.
fn fetch_span(source: &SourceName, key: &CredentialKey, request_id: RequestId, parent: Option<&SpanIdentity>) -> Span {
    let Some(parent) = parent else { return fetch_span!("ecr_broker::source::local", source, key, request_id) };
    let span = fetch_span!("ecr_broker::source", source, key, request_id);
    parent.adopt(&span);
    if let Some(identity) = SpanIdentity::of(&span) {
        span.record("trace_id", identity.trace_id());
    }
    span
}

/// Returns the system and the method of a call, in OpenTelemetry's names.
fn call(source: &SourceName, key: &CredentialKey) -> (&'static str, &'static str) {
    match (source, &key.registry) {
        (SourceName::Aws | SourceName::SharedCache, Registry::Private(_)) if key.lifetime.is_some() => {
            ("aws-api", "Signin/CreateBearerToken")
        }
        (SourceName::Aws | SourceName::SharedCache, Registry::Private(_)) => ("aws-api", "ECR/GetAuthorizationToken"),
        (SourceName::Aws | SourceName::SharedCache, Registry::Public { .. }) => {
            ("aws-api", "ECR Public/GetAuthorizationToken")
        }
        (SourceName::Parent(_), _) => ("grpc", "ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials"),
    }
}
