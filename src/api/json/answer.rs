//! Answers: credentials or an error as flat JSON, with the headers that keep both out of caches and other sites.

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use zeroize::Zeroizing;

use crate::api::grpc::response_admission::ResponseAdmission;
use crate::pb::RegistryCredentials;
use crate::time_text::rfc3339_millis;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SAME_ORIGIN_ONLY: (HeaderName, HeaderValue) =
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));

/// The text of an answer. Its call is in flight until hyper drops the text, which is when all of it is written.
struct Text {
    text: String,
    _admission: Option<ResponseAdmission>,
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// Returns the answer of an outcome. The admission of a call that succeeded lasts as long as the answer.
pub(super) fn of(
    outcome: Result<RegistryCredentials, Status>,
    admission: Option<ResponseAdmission>,
) -> Response<Full<Bytes>> {
    match outcome {
        Ok(credentials) => json(StatusCode::OK, &released(&credentials), admission),
        Err(status) => failed(&status),
    }
}

/// Returns credentials. Every value is a text or a number, because External Secrets makes a key of a Secret of each.
fn released(credentials: &RegistryCredentials) -> Value {
    let RegistryCredentials { registry, username, password, credential_id, .. } = credentials;
    let expires = credentials.expire_time.and_then(|time| rfc3339_millis(time.try_into().ok()?));
    json!({
        "registry": registry,
        "username": username,
        "password": password,
        "expires_at": expires.unwrap_or_default(),
        "refresh_after_seconds": credentials.refresh_after.map_or(0, |duration| duration.seconds),
        "credential_id": credential_id,
        "dockerconfigjson": docker_config(registry, username, password).as_str(),
    })
}

/// Returns the text of a Secret of type `kubernetes.io/dockerconfigjson`.
fn docker_config(registry: &str, username: &str, password: &str) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{username}:{password}"));
    let entry = json!({ "auth": BASE64.encode(pair.as_bytes()) });
    Zeroizing::new(json!({ "auths": { registry: entry } }).to_string())
}

fn failed(status: &Status) -> Response<Full<Bytes>> {
    let (info, request) = (status.get_details_error_info(), status.get_details_request_info());
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let id = request.map(|request| request.request_id).unwrap_or_default();
    let reason = info.map_or_else(|| "INTERNAL_ERROR".to_owned(), |info| info.reason);
    let mut error = Map::new();
    error.insert("reason".to_owned(), reason.into());
    error.insert("message".to_owned(), status.message().into());
    error.insert("request_id".to_owned(), id.as_str().into());
    // Whole seconds, as in the header: an earlier retry would fail again.
    let seconds = retry.map(|delay| delay.as_secs() + u64::from(delay.subsec_nanos() > 0));
    error.extend(seconds.map(|seconds| ("retry_after_seconds".to_owned(), seconds.into())));
    let code = http_status(status.code());
    let mut response = json(code, &Value::Object(error), None);
    let headers = response.headers_mut();
    let id = HeaderValue::try_from(id).ok().filter(|id| !id.is_empty());
    headers.extend(id.map(|id| (REQUEST_ID, id)));
    headers.extend(seconds.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
    if code == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Returns the status of HTTP for a code of gRPC, by the mapping of `google.rpc.Code`. None is 404: see `read`.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn json(status: StatusCode, value: &Value, admission: Option<ResponseAdmission>) -> Response<Full<Bytes>> {
    let text = Text { text: format!("{value}\n"), _admission: admission };
    let mut response = Response::new(Full::new(Bytes::from_owner(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.extend([SAME_ORIGIN_ONLY]);
    response
}

#[cfg(test)]
mod tests;
