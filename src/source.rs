//! Where credentials come from: the one seam between the broker and AWS.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tracing::{Span, field};

use crate::caller::Principal;
use crate::credential::{Credential, CredentialKey};
use crate::error::{FailureClass, UpstreamError};
use crate::registry::Registry;
use crate::request_id::RequestId;
use crate::trace::SpanIdentity;

pub mod aws;

/// What a source answers with, some time later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, UpstreamError>> + Send + 'a>>;

/// Something that can fetch a credential over the network.
///
/// It is asked only when the cache has nothing: it neither caches nor coalesces, and it need not bound its own time.
pub trait CredentialSource: Debug + Send + Sync {
    /// Fetches a credential for `key`, newly made. `requester` is who caused it; none where that is the broker itself. What is
    /// fetched is the same for everybody.
    fn fetch<'a>(&'a self, key: &'a CredentialKey, requester: Option<&'a Principal>) -> Answer<'a, Credential>;

    /// Whether there is an identity to fetch with, without fetching.
    fn check_identity(&self) -> Answer<'_, ()>;
}

impl<S: CredentialSource + ?Sized> CredentialSource for Arc<S> {
    fn fetch<'a>(&'a self, key: &'a CredentialKey, requester: Option<&'a Principal>) -> Answer<'a, Credential> {
        (**self).fetch(key, requester)
    }

    fn check_identity(&self) -> Answer<'_, ()> {
        (**self).check_identity()
    }
}

/// The span of a call to AWS. Only what has the target `ecr_broker::source` itself is exported, and a span's target cannot be
/// chosen at run time.
macro_rules! call_span {
    ($target:literal, $key:expr, $request:expr) => {{
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
            aws.request_id = field::Empty,
            aws.error_code = field::Empty,
            error.r#type = field::Empty,
            profile = %$key.profile,
            request_id = %$request,
            trace_id = field::Empty,
        )
    }};
}

/// The span of one fetch: the caller of [`CredentialSource::fetch`] makes it and enters it; the source fills in what it learns,
/// through [`Span::current`]. It is recorded where the call that started it is, so that no trace begins in the middle.
#[must_use]
pub fn call_span(key: &CredentialKey, request: RequestId, parent: Option<&SpanIdentity>) -> Span {
    let Some(parent) = parent else { return call_span!("ecr_broker::source::local", key, request) };
    let span = call_span!("ecr_broker::source", key, request);
    parent.adopt(&span);
    if let Some(identity) = SpanIdentity::of(&span) {
        span.record("trace_id", identity.trace_id());
    }
    span
}

/// Notes in the call's span that it failed.
pub fn record_failure(class: FailureClass) {
    let span = Span::current();
    span.record("otel.status_code", "ERROR");
    span.record("error.type", field::debug(class));
}

fn service(registry: &Registry) -> &'static str {
    match registry {
        Registry::Private(_) => "ECR",
        Registry::Public { .. } => "ECR Public",
    }
}
