//! Responses of any protocol.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::error::AwsError;

/// The media type of JSON 1.1.
pub const JSON_CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// The wait before the next attempt, in milliseconds.
const RETRY_AFTER: HeaderName = HeaderName::from_static("x-amz-retry-after");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// A response of any protocol.
pub struct AwsResponse {
    status: StatusCode,
    content: Option<&'static str>,
    kind: Kind,
    retry_after: Option<Duration>,
    body: Bytes,
}

enum Kind {
    Success,
    /// An error with its code.
    Error(&'static str),
    /// An injected fault with its name.
    Fault(&'static str),
}

impl AwsResponse {
    /// Returns a success in JSON 1.1.
    #[must_use]
    pub fn json(body: &Value) -> Self {
        Self::success(JSON_CONTENT_TYPE, body.to_string())
    }

    /// Returns an error in JSON 1.1.
    #[must_use]
    pub fn json_error(error: AwsError) -> Self {
        let AwsError { status, code, message, retry_after } = error;
        let body = json!({ "__type": code, "message": message });
        Self { retry_after, ..Self::error(status, code, JSON_CONTENT_TYPE, body.to_string()) }
    }

    /// Returns a success in the protocol of `content`.
    #[must_use]
    pub fn success(content: &'static str, body: String) -> Self {
        Self::new(StatusCode::OK, Some(content), Kind::Success, body.into())
    }

    /// Returns an error in the protocol of `content`.
    #[must_use]
    pub fn error(status: StatusCode, code: &'static str, content: &'static str, body: String) -> Self {
        Self::new(status, Some(content), Kind::Error(code), body.into())
    }

    /// Returns a status and a body that no protocol defines; `name` is the outcome in the log.
    #[must_use]
    pub fn fault(status: StatusCode, body: &'static [u8], name: &'static str) -> Self {
        Self::new(status, None, Kind::Fault(name), Bytes::from_static(body))
    }

    fn new(status: StatusCode, content: Option<&'static str>, kind: Kind, body: Bytes) -> Self {
        Self { status, content, kind, retry_after: None, body }
    }

    /// Returns the outcome for the log: `ok`, the error code, or the fault.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self.kind {
            Kind::Success => "ok",
            Kind::Error(code) | Kind::Fault(code) => code,
        }
    }

    /// Converts the response to HTTP, with the request ID in its header.
    #[must_use]
    pub fn into_http(self, id: &str) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(content) = self.content {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
        }
        if let Kind::Error(code) = self.kind {
            headers.insert(ERROR_TYPE, HeaderValue::from_static(code));
        }
        response
    }
}

impl fmt::Debug for AwsResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut response = f.debug_struct("AwsResponse");
        response.field("status", &self.status).field("outcome", &self.outcome()).finish_non_exhaustive()
    }
}
