//! Answers and their headers.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;

/// What a browser may do with an answer: show it.
const NOTHING_MORE: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SAME_ORIGIN_ONLY: (HeaderName, HeaderValue) =
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));

/// An answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
    allow: Option<HeaderValue>,
    policy: HeaderValue,
}

impl Answer {
    pub(super) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let (content_type, policy) = (HeaderValue::from_static(content_type), HeaderValue::from_static(NOTHING_MORE));
        Self { status, content_type, body: body.into(), allow: None, policy }
    }

    /// Returns plain text.
    pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", text)
    }

    /// Returns a page with its content security policy.
    pub(super) fn html(page: String, policy: &str) -> Self {
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(NOTHING_MORE));
        Self { policy, ..Self::new(StatusCode::OK, "text/html; charset=utf-8", page) }
    }

    /// Returns JSON.
    pub(super) fn json(json: String) -> Self {
        Self::new(StatusCode::OK, "application/json", json)
    }

    /// Names the methods that are allowed instead.
    pub(super) fn allowing(self, methods: &'static str) -> Self {
        Self { allow: Some(HeaderValue::from_static(methods)), ..self }
    }

    /// Adds the headers that every answer has. None of them lets a page of another site read the answer.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type);
        headers.insert(CONTENT_SECURITY_POLICY, self.policy);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend([SAME_ORIGIN_ONLY]);
        headers.extend(self.allow.map(|methods| (ALLOW, methods)));
        response
    }
}
