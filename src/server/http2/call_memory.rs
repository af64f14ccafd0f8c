//! What a call on a proved connection counts for, beside the limits of its caller.

use http::HeaderMap;

use crate::api::grpc::methods::Method;
use crate::limits::{BodyMemory, ConnectionMemory, HeldMemory};

/// Memory of a header field beside its name and value: tables grow by doubling.
const FIELD_BYTES: usize = 200;
/// Memory of headers that do not count: those of a usual call behind a proxy. The caller's limit of requests bounds them.
const USUAL_HEADERS: usize = 6 * 1024;
/// Memory of a health check or watch, which no limit of requests counts.
const HEALTH_BYTES: usize = 6 * 1024;
/// Memory of a reflection, with the answers that its peer has not read.
const REFLECTION_BYTES: usize = 40 * 1024;
/// Bytes of reflection that are not decoded: a frame. Messages are smaller.
const MAX_STREAMED: usize = 16 * 1024;

/// The memory of a call beside its body.
#[derive(Debug, Default)]
pub(super) struct CallMemory {
    headers: Option<HeldMemory>,
    call: Option<HeldMemory>,
}

impl CallMemory {
    /// Counts unusual headers, and a call that needs no caller.
    pub(super) fn of(connection: &ConnectionMemory, method: &Method, headers: &HeaderMap) -> Self {
        let headers = Some(bytes(headers)).filter(|bytes| *bytes > USUAL_HEADERS);
        let call = if method.streams_requests() { REFLECTION_BYTES } else { HEALTH_BYTES };
        Self {
            headers: headers.map(|bytes| connection.hold(bytes)),
            call: (!method.authenticated).then(|| connection.hold(call)),
        }
    }

    /// Returns what counts until the response has ended. The headers are gone once it begins.
    pub(super) fn after_headers(self) -> Option<HeldMemory> {
        let Self { headers, call } = self;
        drop(headers);
        call
    }
}

/// Counts the body of a call.
pub(super) fn body(connection: &ConnectionMemory, method: &Method) -> BodyMemory {
    BodyMemory::begin(connection, if method.streams_requests() { MAX_STREAMED } else { usize::MAX })
}

fn bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| 2 * (name.as_str().len() + value.len()) + FIELD_BYTES).sum()
}
