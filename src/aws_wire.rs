//! The wire of AWS, as services see it: the JSON 1.1 protocol, and what all its protocols have in common: calls, answers and
//! refusals.
//!
//! What passes here holds keys and tokens, so nothing of it can be printed but what names it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub mod ecr;
mod signature;

pub use self::signature::Scope;

/// The longest body that is read. The longest an SDK sends is a web identity token of 20,000 characters.
const LONGEST_BODY: usize = 64 * 1024;
/// The media type of JSON 1.1.
pub const CONTENT: &str = "application/x-amz-json-1.1";
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// In milliseconds, where waiting helps.
const RETRY_AFTER: HeaderName = HeaderName::from_static("x-amz-retry-after");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// A request whose body was read.
pub struct Call {
    /// Its method, address and headers.
    pub head: Parts,
    /// Its body.
    pub body: Bytes,
    /// The name that its answer gives it.
    pub id: String,
}

/// Why a call is refused: what an SDK sees as the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of HTTP; SDKs go by the code where they know it.
    pub status: StatusCode,
    /// The error's name.
    pub code: &'static str,
    /// What people read.
    pub message: String,
    /// How long to wait before asking again, where the service says so.
    pub retry_after: Option<Duration>,
}

/// An answer, in whichever protocol.
pub struct Answer {
    status: StatusCode,
    content: Option<&'static str>,
    outcome: Outcome,
    retry_after: Option<Duration>,
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
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.header(&TARGET).filter(|_| self.head.method == Method::POST)
    }

    /// A header that is text.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The service as the caller names it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let host = self.header(&HOST).or_else(|| self.head.uri.authority().map(Authority::as_str));
        format!("http://{}", host.unwrap_or("localhost"))
    }

    /// Reads a JSON 1.1 body; an empty one is an empty object.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn json<T: DeserializeOwned + Default>(&self) -> Result<T, Refusal> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::bad_request("SerializationException", error.to_string()))
    }
}

/// Reads a request's body.
///
/// # Errors
/// Where it is too long, or breaks off.
pub async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            format!("The request is longer than the {LONGEST_BODY} bytes that are read"),
        )),
        Err(error) => Err(Refusal::bad_request("RequestAbortedException", error.to_string())),
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Refusal {
    /// A refusal of any status.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// A refusal of what JSON 1.1 has for nearly everything.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// A refusal of who asks.
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// The refusal in JSON 1.1.
    #[must_use]
    pub fn into_json(self) -> Answer {
        let body = json!({ "__type": self.code, "message": self.message });
        let answer = Answer::refused(self.status, self.code, CONTENT, body.to_string());
        Answer { retry_after: self.retry_after, ..answer }
    }
}

impl Answer {
    /// An answer in JSON 1.1.
    #[must_use]
    pub fn json(body: &Value) -> Self {
        Self::answered(CONTENT, body.to_string())
    }

    /// An answer to a call that went well.
    #[must_use]
    pub fn answered(content: &'static str, body: String) -> Self {
        Self {
            status: StatusCode::OK,
            content: Some(content),
            outcome: Outcome::Answered,
            retry_after: None,
            body: body.into(),
        }
    }

    /// An answer to a call that is refused.
    #[must_use]
    pub fn refused(status: StatusCode, code: &'static str, content: &'static str, body: String) -> Self {
        Self { status, content: Some(content), outcome: Outcome::Refused(code), retry_after: None, body: body.into() }
    }

    /// A status and a body that are no answer of any protocol; `what` is what the log calls it.
    #[must_use]
    pub fn faulty(status: StatusCode, body: &'static [u8], what: &'static str) -> Self {
        Self {
            status,
            content: None,
            outcome: Outcome::Faulty(what),
            retry_after: None,
            body: Bytes::from_static(body),
        }
    }

    /// How it ended: `ok`, the error's code, or the fault.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self.outcome {
            Outcome::Answered => "ok",
            Outcome::Refused(code) | Outcome::Faulty(code) => code,
        }
    }

    /// The answer to the request of this name, as HTTP has it.
    #[must_use]
    pub fn into_response(self, id: &str) -> Response<Full<Bytes>> {
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
        if let Outcome::Refused(code) = self.outcome {
            headers.insert(ERROR_TYPE, HeaderValue::from_static(code));
        }
        response
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut answer = f.debug_struct("Answer");
        answer.field("status", &self.status).field("outcome", &self.outcome()).finish_non_exhaustive()
    }
}
