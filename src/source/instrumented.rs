//! Tracing layer: one span for each fetch, whichever source serves it.

use std::time::Duration;

use tracing::{Instrument as _, Span, field};

use super::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity};
use crate::credential::{Credential, CredentialKey};
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
        let span = fetch_span(&request.key, request.request_id, request.parent_span.as_ref());
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
    ($target:literal, $key:expr, $request_id:expr) => {{
        let service = service(&$key.registry);
        tracing::info_span!(
            target: $target,
            parent: None,
            "upstream call",
            otel.name = format!("{service}/GetAuthorizationToken"),
            otel.kind = "client",
            otel.status_code = field::Empty,
            rpc.system.name = "aws-api",
            rpc.method = format!("{service}/GetAuthorizationToken"),
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
fn fetch_span(key: &CredentialKey, request_id: RequestId, parent: Option<&SpanIdentity>) -> Span {
    let Some(parent) = parent else { return fetch_span!("ecr_broker::source::local", key, request_id) };
    let span = fetch_span!("ecr_broker::source", key, request_id);
    parent.adopt(&span);
    if let Some(identity) = SpanIdentity::of(&span) {
        span.record("trace_id", identity.trace_id());
    }
    span
}

fn service(registry: &Registry) -> &'static str {
    match registry {
        Registry::Private(_) => "ECR",
        Registry::Public { .. } => "ECR Public",
    }
}
