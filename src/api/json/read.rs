//! From an HTTP request to the message of a call.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::error::Category;
use tokio::time::timeout;
use tower::BoxError;

use super::unreadable::{Mistake, Unreadable};
use crate::api::request::BODY_TIMEOUT;
use crate::pb::GetRegistryCredentialsRequest;
use crate::pb::get_registry_credentials_request::Target;

/// The only path.
const PATH: &str = "/v1/credentials";
/// Headers of browsers, which no page can leave out. `Sec-Fetch-Mode` is not among them: fetch of Node sends it, too.
const OF_BROWSERS: [HeaderName; 2] = [ORIGIN, HeaderName::from_static("sec-fetch-site")];
const METHODS: &str = "GET, POST";
/// Start of the headers by which brokers forward calls. Brokers speak gRPC; a proxy in front of this API passes on what its callers send.
/// Dropped, a forwarded call would be decided by the rights of the one that sends it.
const OF_BROKERS: &str = "x-ecr-broker-";
const FIELDS: &str = "registry, profile, min_validity_seconds";
/// Limit of a body. The longest image reference and profile name are far below.
const MAX_BODY: usize = 8 * 1024;

/// The fields of a request, by the names that a query string and a JSON body have.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    registry: Option<String>,
    profile: Option<String>,
    min_validity_seconds: Option<u32>,
}

/// Reads the query string of a GET, or the JSON body of a POST.
///
/// An unknown path is a bad request, not 404: External Secrets takes 404 as a secret that is gone, and may delete its copy.
pub(super) async fn message<B>(head: &Parts, body: B) -> Result<GetRegistryCredentialsRequest, Unreadable>
where
    B: Body<Error: Into<BoxError>>,
{
    if OF_BROWSERS.iter().any(|name| head.headers.contains_key(name)) {
        return Err(Unreadable::browser());
    }
    if head.uri.path() != PATH {
        return Err(Unreadable::new("path", format!("unknown; call {PATH}")));
    }
    if head.headers.keys().any(|name| name.as_str().starts_with(OF_BROKERS)) {
        return Err(Unreadable::new(
            "headers",
            format!("{OF_BROKERS}… is for brokers, which speak gRPC; leave it out"),
        ));
    }
    let fields = match head.method {
        Method::GET => query(head.uri.query().unwrap_or_default())?,
        Method::POST => json(&head.headers, head.uri.query(), body).await?,
        _ => return Err(Unreadable::method(METHODS)),
    };
    fields.message()
}

fn query(text: &str) -> Result<Fields, Unreadable> {
    let mut fields = Fields::default();
    for item in text.split('&').filter(|item| !item.is_empty()) {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        let value = percent_decode_str(value).decode_utf8();
        let value = value.map_err(|_| Unreadable::new("query", "a value is not UTF-8; percent-encode UTF-8"))?;
        let is_first = match name {
            "registry" => fields.registry.replace(value.into_owned()).is_none(),
            "profile" => fields.profile.replace(value.into_owned()).is_none(),
            "min_validity_seconds" => {
                let seconds = value.parse().map_err(|_| {
                    Unreadable::new(
                        "min_validity_seconds",
                        "not a number of seconds; give a whole number, or leave it out",
                    )
                })?;
                fields.min_validity_seconds.replace(seconds).is_none()
            }
            _ => return Err(Unreadable::new("query", format!("unknown parameter; use only {FIELDS}"))),
        };
        if !is_first {
            return Err(Unreadable::new("query", "a parameter is repeated; send each once"));
        }
    }
    Ok(fields)
}

/// Reads a body. The content type alone would stop a page in a browser: it needs the server's consent to send it.
async fn json<B>(headers: &HeaderMap, query: Option<&str>, body: B) -> Result<Fields, Unreadable>
where
    B: Body<Error: Into<BoxError>>,
{
    if query.is_some() {
        return Err(Unreadable::new("query", "not allowed with POST; move the fields into the JSON body"));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let problem = "not JSON; send the header content-type: application/json";
        return Err(Unreadable::new("content-type", problem).of(Mistake::MediaType));
    }
    let body = read(body).await?;
    // serde takes a list for a struct, too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Unreadable::new("body", "not a JSON object; send one such as {\"registry\": \"HOST\"}"));
    }
    serde_json::from_slice(&body).map_err(|error| malformed(&error))
}

async fn read<B>(body: B) -> Result<Bytes, Unreadable>
where
    B: Body<Error: Into<BoxError>>,
{
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Unreadable::new("body", "broken off; send all of it")),
        Err(_) => {
            let problem = format!("incomplete after {} s; send it at once", BODY_TIMEOUT.as_secs());
            Err(Unreadable::new("body", problem).of(Mistake::LateBody))
        }
    }
}

fn too_large() -> Unreadable {
    let problem = format!("longer than {MAX_BODY} bytes; send only {FIELDS}");
    Unreadable::new("body", problem).of(Mistake::LargeBody)
}

/// Returns the mistake in a body. serde's own text repeats what the caller wrote.
fn malformed(error: &serde_json::Error) -> Unreadable {
    let (line, column) = (error.line(), error.column());
    let problem = match error.classify() {
        Category::Data => {
            format!("unknown, repeated or mistyped field at line {line} column {column}; use only {FIELDS}")
        }
        _ => format!("not JSON at line {line} column {column}; send an object such as {{\"registry\": \"HOST\"}}"),
    };
    Unreadable::new("body", problem)
}

impl Fields {
    fn message(self) -> Result<GetRegistryCredentialsRequest, Unreadable> {
        let Some(registry) = self.registry.filter(|text| !text.is_empty()) else {
            return Err(Unreadable::new("registry", "missing; name a registry host or an image"));
        };
        let seconds = |seconds: u32| prost_types::Duration { seconds: seconds.into(), nanos: 0 };
        Ok(GetRegistryCredentialsRequest {
            target: Some(Target::Registry(registry)),
            profile: self.profile.unwrap_or_default(),
            min_validity: self.min_validity_seconds.map(seconds),
            ..GetRegistryCredentialsRequest::default()
        })
    }
}

#[cfg(test)]
mod tests;
