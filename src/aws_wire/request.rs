//! Requests with their bodies.

use std::fmt;

use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::error::AwsError;

/// The longest body that is read. The longest that an SDK sends is a web identity token of 20,000 characters.
const MAX_BODY: usize = 64 * 1024;
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// A request with its body.
pub struct AwsRequest {
    /// The method, address and headers.
    pub head: Parts,
    /// The body.
    pub body: Bytes,
    /// The request ID, which the response repeats.
    pub id: String,
}

impl AwsRequest {
    /// Returns the operation that a JSON 1.1 request names.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        target(&self.head.method, &self.head.headers)
    }

    /// Returns a header, if it is text.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// Returns the URL of the service as the caller addressed it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let host = self.header(&HOST).or_else(|| self.head.uri.authority().map(Authority::as_str));
        format!("http://{}", host.unwrap_or("localhost"))
    }

    /// Parses a JSON 1.1 body; an empty body is an empty object.
    ///
    /// # Errors
    /// If the body is not JSON of the expected type.
    pub fn json<T: DeserializeOwned + Default>(&self) -> Result<T, AwsError> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        // Not the parser's own text, which repeats a text of any length.
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let problem = format!("The request body is not the operation's input, at line {line} column {column}");
            AwsError::bad_request("SerializationException", problem)
        })
    }
}

/// Returns the operation that the method and headers of a JSON 1.1 request name.
#[must_use]
pub fn target<'a>(method: &Method, headers: &'a HeaderMap) -> Option<&'a str> {
    headers.get(TARGET)?.to_str().ok().filter(|_| *method == Method::POST)
}

/// Reads a request's body.
///
/// # Errors
/// If the body is too long or breaks off.
pub async fn read_body(body: Incoming) -> Result<Bytes, AwsError> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(AwsError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            format!("The request body is longer than {MAX_BODY} bytes"),
        )),
        Err(error) => Err(AwsError::bad_request("RequestAbortedException", error.to_string())),
    }
}

impl fmt::Debug for AwsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsRequest").field("id", &self.id).finish_non_exhaustive()
    }
}
