//! Requests that are not read: for another host, path or method, or malformed.

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::error::BrokerError;

/// Why a request is not read.
#[derive(Debug, Clone)]
pub(super) struct Unreadable {
    field: &'static str,
    problem: String,
    status: StatusCode,
    allow: Option<&'static str>,
}

impl Unreadable {
    /// Returns the mistake of a field.
    pub(super) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into(), status: StatusCode::BAD_REQUEST, allow: None }
    }

    /// The request names a host that is not the broker's.
    pub(super) fn host() -> Self {
        let problem = "not a name of the broker; use an IP address or localhost, or add the name to server.json_hosts";
        Self { status: StatusCode::MISDIRECTED_REQUEST, ..Self::new("host", problem) }
    }

    /// The method is not one of `allow`.
    pub(super) fn method(allow: &'static str) -> Self {
        let problem = format!("not allowed; use one of {allow}");
        Self { status: StatusCode::METHOD_NOT_ALLOWED, allow: Some(allow), ..Self::new("method", problem) }
    }

    /// A browser sent the request.
    pub(super) fn browser() -> Self {
        let problem =
            "Origin and Sec-Fetch-Site are of browsers, which may not call; call from a program, without them";
        Self { status: StatusCode::FORBIDDEN, ..Self::new("headers", problem) }
    }

    /// Replaces the status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn error(&self) -> BrokerError {
        BrokerError::RequestInvalid { field: self.field, problem: self.problem.clone() }
    }

    /// Returns the answer of the error with the status of HTTP.
    pub(super) fn answer(self, mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        *answer.status_mut() = self.status;
        answer.headers_mut().extend(self.allow.map(|methods| (ALLOW, HeaderValue::from_static(methods))));
        answer
    }
}
