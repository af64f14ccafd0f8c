//! Carries the admission of a call from its handler to the connection that sends the response.
//!
//! A call counts as in flight until the last byte of its response is sent, which only the connection sees. A handler returns
//! nothing beside its response, so the admission travels in the response's extensions. This type is the only way in and out.

use std::sync::Arc;

use http::Response as HttpResponse;
use tonic::Response;

use crate::limits::Admission;

/// The admission of a call, kept until its response is sent. A clone keeps the same admission.
#[derive(Debug, Clone)]
pub(crate) struct ResponseAdmission(#[expect(dead_code, reason = "dropping it ends the admission")] Arc<Admission>);

impl ResponseAdmission {
    /// Returns an admission for a response that does not come from a handler.
    pub(in crate::api) fn new(admission: Arc<Admission>) -> Self {
        Self(admission)
    }

    /// Attaches an admission to the response of a handler.
    pub(super) fn attach<T>(admission: Arc<Admission>, response: &mut Response<T>) {
        response.extensions_mut().insert(Self(admission));
    }

    /// Detaches the admission from a response; none if the call is not counted.
    pub(crate) fn detach<T>(response: &mut HttpResponse<T>) -> Option<Self> {
        response.extensions_mut().remove()
    }
}
