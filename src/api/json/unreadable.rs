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
    mistake: Mistake,
    allow: Option<&'static str>,
}

/// The kind of a mistake, which decides the status of HTTP.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mistake {
    /// A path, field or header is wrong.
    Malformed,
    Browser,
    Method,
    LateBody,
    LargeBody,
    MediaType,
    Host,
}

impl Mistake {
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] =
        [Self::Malformed, Self::Browser, Self::Method, Self::LateBody, Self::LargeBody, Self::MediaType, Self::Host];

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Browser => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::LateBody => StatusCode::REQUEST_TIMEOUT,
            Self::LargeBody => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
        }
    }
}

impl Unreadable {
    /// Returns the mistake of a field.
    pub(super) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into(), mistake: Mistake::Malformed, allow: None }
    }

    /// The request names a host that is not the broker's.
    pub(super) fn host() -> Self {
        let problem = "not a name of the broker; use an IP address or localhost, or add the name to server.json_hosts";
        Self::new("host", problem).of(Mistake::Host)
    }

    /// The method is not one of `allow`.
    pub(super) fn method(allow: &'static str) -> Self {
        let problem = format!("not allowed; use one of {allow}");
        Self { allow: Some(allow), ..Self::new("method", problem).of(Mistake::Method) }
    }

    /// A browser sent the request.
    pub(super) fn browser() -> Self {
        let problem =
            "Origin and Sec-Fetch-Site are of browsers, which may not call; call from a program, without them";
        Self::new("headers", problem).of(Mistake::Browser)
    }

    /// Replaces the kind of the mistake.
    pub(super) fn of(self, mistake: Mistake) -> Self {
        Self { mistake, ..self }
    }

    pub(super) fn error(&self) -> BrokerError {
        BrokerError::RequestInvalid { field: self.field, problem: self.problem.clone() }
    }

    /// Returns the answer of the error with the status of HTTP.
    pub(super) fn answer(self, mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        *answer.status_mut() = self.mistake.status();
        answer.headers_mut().extend(self.allow.map(|methods| (ALLOW, HeaderValue::from_static(methods))));
        answer
    }
}
