//! The JSON 1.1 protocol of AWS, and what all its protocols have in common: calls, answers and refusals.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const CONTENT: &str = "application/x-amz-json-1.1";
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// A request whose body was read.
pub(super) struct Call {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    pub(super) id: RequestId,
}

/// The name AWS gives a request, in the form of a UUID.
#[derive(Clone)]
pub(super) struct RequestId(String);

/// Why AWS refuses a call: what an SDK sees as the error.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// An answer, in whichever protocol.
pub(super) struct Answer {
    status: StatusCode,
    content: Option<&'static str>,
    outcome: Outcome,
    body: Bytes,
}

/// How a call ended, for the log.
enum Outcome {
    Answered,
    Refused(&'static str),
    Faulty(&'static str),
}

impl Call {
    /// The operation that a JSON 1.1 request asks for.
    pub(super) fn target(&self) -> Option<&str> {
        self.header(&TARGET).filter(|_| self.head.method == Method::POST)
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The simulated AWS as the caller names it.
    pub(super) fn endpoint(&self) -> String {
        let host = self.header(&HOST).or_else(|| self.head.uri.authority().map(Authority::as_str));
        format!("http://{}", host.unwrap_or("localhost"))
    }

    /// Reads a JSON 1.1 body; an empty one is an empty object.
    pub(super) fn json<T: DeserializeOwned + Default>(&self) -> Result<T, Refusal> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::bad_request("SerializationException", error.to_string()))
    }
}

impl RequestId {
    pub(super) fn new() -> Self {
        let mut id = format!("{:032x}", fastrand::u128(..));
        for dash in [8, 13, 18, 23] {
            id.insert(dash, '-');
        }
        Self(id)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    pub(super) fn unknown_operation() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UnknownOperationException", "The operation is not one of the simulated AWS's")
    }

    /// The refusal in JSON 1.1.
    pub(super) fn into_json(self) -> Answer {
        let body = json!({ "__type": self.code, "message": self.message });
        Answer::refused(self.status, self.code, CONTENT, body.to_string())
    }
}

impl Answer {
    /// An answer in JSON 1.1.
    pub(super) fn json(body: &Value) -> Self {
        Self::answered(CONTENT, body.to_string())
    }

    pub(super) fn answered(content: &'static str, body: String) -> Self {
        Self { status: StatusCode::OK, content: Some(content), outcome: Outcome::Answered, body: body.into() }
    }

    pub(super) fn refused(status: StatusCode, code: &'static str, content: &'static str, body: String) -> Self {
        Self { status, content: Some(content), outcome: Outcome::Refused(code), body: body.into() }
    }

    /// A status and nothing else: no code, no body.
    pub(super) fn bare(status: StatusCode) -> Self {
        Self { status, content: None, outcome: Outcome::Faulty("bare status"), body: Bytes::new() }
    }

    /// A success that is none.
    pub(super) fn garbage(body: &'static [u8]) -> Self {
        Self {
            status: StatusCode::OK,
            content: None,
            outcome: Outcome::Faulty("garbage"),
            body: Bytes::from_static(body),
        }
    }

    /// How it ended: `ok`, the error's code, or the fault.
    pub(super) fn outcome(&self) -> &'static str {
        match self.outcome {
            Outcome::Answered => "ok",
            Outcome::Refused(code) | Outcome::Faulty(code) => code,
        }
    }

    pub(super) fn into_response(self, id: &RequestId) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(content) = self.content {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
        }
        if let Outcome::Refused(code) = self.outcome {
            headers.insert(ERROR_TYPE, HeaderValue::from_static(code));
        }
        response
    }
}
