//! A gRPC call as its connection and its headers describe it.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::TraceId;
use tokio::time::Instant;

use crate::api::request::MAX_DURATION;
use crate::api::trace::trace_id;
use crate::audit::Proof;
use crate::authn::{AuthnState, Peer};
use crate::caller::{BrokerId, Caller};
use crate::error::BrokerError;
use crate::hops::{HOPS_HEADER, Hops, HopsError, REQUEST_ID_HEADER, VIA_HEADER};
use crate::limits::Origin;
use crate::rejections::RejectionRecorder;
use crate::request_id::RequestId;

/// Header fields of a call. Clients and proxies send about thirty.
pub(super) const MAX_HEADER_FIELDS: usize = 64;

/// A call, for its handler.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The request ID, as errors and logs show it.
    pub(super) id: RequestId,
    /// The caller, or why it is unknown.
    pub(super) caller: Result<Caller, BrokerError>,
    /// The proof of the caller, which may expire during the call.
    pub(super) authn: AuthnState,
    /// The start of the call.
    pub(super) started: Instant,
    /// The end of the call: the client's deadline, at most [`MAX_DURATION`] from its start.
    pub(super) deadline: Instant,
    /// The client's deadline without that limit, for streams.
    pub(super) client_deadline: Option<Instant>,
    /// The client's trace, recorded or not.
    pub(super) trace: Option<TraceId>,
    /// The brokers that the call passed, or why its headers name none.
    pub(super) hops: Result<Hops, HopsError>,
    /// Where the connection comes from, to record failures of unknown callers by.
    pub(super) origin: Origin,
    /// What the call presents to prove who its caller is.
    pub(super) proof: Proof,
    /// The child broker, by its client certificate, whose caller is unknown.
    pub(super) child: Option<BrokerId>,
    /// Records the call's failures.
    pub(super) rejections: RejectionRecorder,
}

impl Call {
    /// Returns the call that `headers` begin on a connection from `peer`, with or without a bearer token.
    pub(super) fn new(
        headers: &HeaderMap,
        (peer, origin): (&Peer, Origin),
        has_token: bool,
        rejections: RejectionRecorder,
    ) -> Self {
        let (timeout, now) = (timeout(headers), Instant::now());
        Self {
            id: RequestId::random(),
            caller: peer.caller(),
            authn: AuthnState::of_connection(peer.clone()),
            started: now,
            deadline: now + timeout.map_or(MAX_DURATION, |timeout| timeout.min(MAX_DURATION)),
            client_deadline: timeout.and_then(|timeout| now.checked_add(timeout)),
            trace: trace_id(headers),
            hops: hops(headers),
            origin,
            proof: proof(peer, has_token),
            child: None,
            rejections,
        }
    }

    /// Returns the call as one of a child broker for a caller that is not known yet.
    pub(super) fn forwarded(self) -> Self {
        let child = self.caller.as_ref().ok().and_then(Caller::as_broker);
        Self { proof: Proof::Forwarded, child, ..self }
    }
}

/// Returns what a call presents. A token counts before what the connection presents.
fn proof(peer: &Peer, has_token: bool) -> Proof {
    match peer {
        _ if has_token => Proof::Token,
        Peer::Certified(_) => Proof::Certificate,
        Peer::Known(_) | Peer::Unknown(_) => Proof::None,
    }
}

/// Reads the brokers that a call passed. Only brokers send the first header; without it the others are not looked at.
///
/// A walk over the few names of a call costs less than the hash of a name that hardly any call has.
fn hops(headers: &HeaderMap) -> Result<Hops, HopsError> {
    let first = headers.iter().find(|(name, _)| name.as_str() == HOPS_HEADER);
    let Some((_, count)) = first else { return Ok(Hops::default()) };
    let text = |name| match headers.get(name).map(|value| value.to_str()) {
        Some(Err(_)) => Err(HopsError::Malformed(name)),
        Some(Ok(text)) => Ok(Some(text)),
        None => Ok(None),
    };
    let is_repeated = headers.get_all(HOPS_HEADER).iter().count() > 1;
    let count = count.to_str().ok().filter(|_| !is_repeated).ok_or(HopsError::Malformed(HOPS_HEADER))?;
    Hops::parse(count, text(VIA_HEADER)?, text(REQUEST_ID_HEADER)?)
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    timeout_of(headers.get("grpc-timeout")?)
}

/// Reads the value of `grpc-timeout`.
pub(super) fn timeout_of(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeout_is_read_as_the_protocol_defines_it() {
        for (text, expected) in [
            ("30m", Some(Duration::from_millis(30))),
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("5S", Some(Duration::from_secs(5))),
            ("99999999H", Some(Duration::from_hours(99_999_999))),
            ("7u", Some(Duration::from_micros(7))),
            ("7n", Some(Duration::from_nanos(7))),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("-5S", None),
            ("5é", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", http::HeaderValue::from_bytes(text.as_bytes()).expect("a header value"));
            assert_eq!(timeout(&headers), expected, "{text}");
        }
    }
}
