//! What a broker shows, without request IDs, random spread and measured time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use data_encoding::BASE64_NOPAD;
use ecr_broker::cache::{KeyStatus, KeysStatus};
use ecr_broker::pb;
use prost::Message as _;
use tonic_types::pb as details;

use crate::call::{Call, Method, WITH_QUERY};
use crate::wire::Answer;

/// Largest difference of two random delays.
const SPREAD: Duration = Duration::from_mins(8);

/// An answer. Two are alike if everything but the spread of `refresh_after` is equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Normal {
    text: String,
    pub credential_id: Option<String>,
    refresh_after: Vec<Duration>,
}

impl Normal {
    pub fn of(answer: &Answer, call: &Call) -> Self {
        let (mut credential_id, mut refresh_after) = (None, Vec::new());
        let mut note = |credentials: &mut pb::RegistryCredentials| {
            credential_id = Some(credentials.credential_id.clone());
            refresh_after.extend(credentials.refresh_after.take().map(|delay| Duration::try_from(delay).unwrap()));
        };
        let messages: Vec<_> = frames(&answer.body).map(|frame| message(frame, call, &mut note)).collect();
        let (headers, trailers) = (fields(&answer.headers), fields(&answer.trailers));
        let text = {
            let lines = [headers, messages, trailers].concat().join("\n");
            format!("{}\n{lines}\n{:?}", answer.status, answer.reset)
        };
        Self { text, credential_id, refresh_after }
    }

    pub fn is_like(&self, other: &Self) -> bool {
        let is_near = |(one, other): (&Duration, &Duration)| one.abs_diff(*other) <= SPREAD;
        self.text == other.text
            && self.refresh_after.len() == other.refresh_after.len()
            && self.refresh_after.iter().zip(&other.refresh_after).all(is_near)
    }
}

impl fmt::Display for Normal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{:?}", self.text, self.refresh_after)
    }
}

/// Returns the messages of a body with their flags; last, what is left.
fn frames(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(5)?;
        let length = usize::try_from(u32::from_be_bytes(head[1..].try_into().unwrap())).unwrap();
        let (message, after) = after.split_at_checked(length).unwrap_or((after, &[]));
        rest = after;
        Some((head[0], message))
    })
}

fn message((flag, bytes): (u8, &[u8]), call: &Call, note: &mut impl FnMut(&mut pb::RegistryCredentials)) -> String {
    let text = match call.method() {
        Method::Get | Method::At(WITH_QUERY) => {
            let mut answer: pb::GetRegistryCredentialsResponse = canonical(bytes);
            answer.credentials.iter_mut().for_each(note);
            revealed(&answer)
        }
        Method::Batch => {
            let mut batch: pb::BatchGetRegistryCredentialsResponse = decoded(bytes);
            for result in &mut batch.results {
                match &mut result.result {
                    Some(pb::batch_result::Result::Credentials(credentials)) => note(credentials),
                    Some(pb::batch_result::Result::Error(status)) => erase(status),
                    None => {}
                }
            }
            revealed(&batch)
        }
        Method::Watch => {
            let mut event: pb::WatchRegistryCredentialsResponse = decoded(bytes);
            match &mut event.event {
                Some(pb::watch_registry_credentials_response::Event::Credentials(credentials)) => note(credentials),
                Some(pb::watch_registry_credentials_response::Event::Error(status)) => erase(status),
                _ => {}
            }
            revealed(&event)
        }
        Method::List | Method::WhoAmI | Method::At(_) => bytes.escape_ascii().to_string(),
    };
    format!("{flag} {text}")
}

/// Decodes a message, which is as the encoder writes it.
fn canonical<M: prost::Message + Default>(bytes: &[u8]) -> M {
    let message: M = decoded(bytes);
    assert!(message.encode_to_vec() == bytes, "a message is not encoded as others: {bytes:?}");
    message
}

fn decoded<M: prost::Message + Default>(bytes: &[u8]) -> M {
    M::decode(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"))
}

/// Debug texts of credentials lack the password.
fn revealed(message: &impl prost::Message) -> String {
    message.encode_to_vec().escape_ascii().to_string()
}

fn fields(fields: &[(String, String)]) -> Vec<String> {
    let status = fields.iter().find(|(name, _)| name == "grpc-status-details-bin").map(|(_, value)| value);
    let status = status.map(|value| {
        let bytes = BASE64_NOPAD.decode(value.trim_end_matches('=').as_bytes()).unwrap();
        details::Status::decode(bytes.as_slice()).unwrap()
    });
    let id = status.as_ref().and_then(request_id);
    let text = |(name, value): &(String, String)| match (name.as_str(), &status, &id) {
        // The transport's own clock, and the spread of a delay.
        ("date" | "grpc-retry-pushback-ms", ..) => None,
        ("grpc-status-details-bin", Some(status), _) => Some(format!("{name} {}", erased(status))),
        (_, _, Some(id)) => Some(format!("{name} {}", value.replace(id, "ID"))),
        _ => Some(format!("{name} {value}")),
    };
    fields.iter().filter_map(text).collect()
}

fn request_id(status: &details::Status) -> Option<String> {
    let detail = status.details.iter().find(|detail| detail.type_url.ends_with("RequestInfo"))?;
    Some(details::RequestInfo::decode(detail.value.as_slice()).ok()?.request_id)
}

/// Returns a status without the request ID and the spread of its delay.
fn erased(status: &details::Status) -> String {
    let detail = |detail: &prost_types::Any| match detail.type_url.rsplit_once('.').unwrap().1 {
        "RetryInfo" => "RetryInfo".to_owned(),
        // The order of its metadata is random.
        "ErrorInfo" => {
            let info = details::ErrorInfo::decode(detail.value.as_slice()).unwrap();
            format!("{} {} {:?}", info.reason, info.domain, BTreeMap::from_iter(info.metadata))
        }
        name => format!("{name} {:?}", String::from_utf8_lossy(&detail.value)),
    };
    let all: Vec<_> = status.details.iter().map(detail).collect();
    let text = format!("{} {} {}", status.code, status.message, all.join(" "));
    match request_id(status) {
        Some(id) => text.replace(&id, "ID"),
        None => text,
    }
}

/// The same of a status in a message.
fn erase(status: &mut details::Status) {
    (status.message, status.details) = (erased(status), Vec::new());
}

/// Returns the lines of a scrape but those that measure time and the process.
pub fn metrics(scrape: &str) -> Vec<String> {
    let measures = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap();
        ["process_", "tokio_"].iter().any(|start| name.starts_with(start))
            || name.ends_with("_duration_seconds_sum")
            || name.ends_with("_duration_seconds_bucket")
    };
    let samples = scrape.lines().filter(|line| !line.starts_with('#'));
    let mut lines: Vec<_> = samples.filter(|line| !measures(line)).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Returns an audit record without its request ID. Of a line that a full disk cut, only its length tells something.
pub fn record(line: &str) -> String {
    let Ok(record) = serde_json::from_str::<serde_json::Value>(line) else { return format!("{} bytes", line.len()) };
    record["request_id"].as_str().map_or_else(|| line.to_owned(), |id| line.replace(id, "ID"))
}

/// Returns the state of the cache's keys without the spread of refreshes.
pub fn keys(status: KeysStatus) -> impl Iterator<Item = String> {
    let summary = format!("{} of {}: {:?}", status.cached, status.capacity, (status.failing, status.shortest));
    let key = |mut key: KeyStatus| {
        if let Some(cached) = &mut key.cached {
            cached.refresh_in = Duration::from_secs(u64::from(!cached.refresh_in.is_zero()));
        }
        format!("{key:?}")
    };
    std::iter::once(summary).chain(status.keys.into_iter().map(key))
}
