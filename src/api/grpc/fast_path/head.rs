//! Heads of requests that the fast path may answer: those in which the ordinary path reads nothing but the time limit and the trace.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request};
use opentelemetry::trace::TraceId;
use tokio::time::Instant;

use super::super::call;
use super::super::methods::{GET_REGISTRY_CREDENTIALS, Method};
use crate::api::request::MAX_DURATION;
use crate::api::trace;

/// The method that is answered.
pub(super) const METHOD: &Method = GET_REGISTRY_CREDENTIALS;
/// Beginning of the metadata that only brokers send.
const METADATA: &str = "x-ecr-broker-";
/// Shortest time limit of a request. A shorter one may pass while the record is written, and the handler gives up shortly before it.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What the fast path must know of a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    timeout: Option<Duration>,
    /// The client's trace, recorded or not.
    pub(super) trace: Option<TraceId>,
}

impl Head {
    /// Returns the head of a request; `None`: only the ordinary path may answer it.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let uri = request.uri();
        let is_method = uri.path().strip_prefix('/') == Some(METHOD.name) && uri.query().is_none();
        if !is_method || request.method() != HttpMethod::POST {
            return None;
        }
        Self::of_headers(request.headers())
    }

    fn of_headers(headers: &HeaderMap) -> Option<Self> {
        if headers.len() > call::MAX_HEADER_FIELDS {
            return None;
        }
        let mut head = Self { timeout: None, trace: None };
        let (mut is_grpc, mut is_timed, mut is_traced) = (false, false, false);
        for (name, value) in headers {
            match name.as_str() {
                "content-type" if is_grpc_type(value) => is_grpc = true,
                "grpc-encoding" if value == "identity" => {}
                "grpc-timeout" if !is_timed => (is_timed, head.timeout) = (true, call::timeout_of(value)),
                "traceparent" if !is_traced => (is_traced, head.trace) = (true, trace::trace_id_in(value)),
                "content-type" | "grpc-encoding" | "grpc-timeout" | "authorization" | "traceparent" => return None,
                name if name.starts_with(METADATA) => return None,
                _ => {}
            }
        }
        (is_grpc && head.timeout.is_none_or(|timeout| timeout >= MIN_TIMEOUT)).then_some(head)
    }

    /// Returns the deadline of a call that started then.
    pub(super) fn deadline(self, started: Instant) -> Instant {
        started + self.timeout.map_or(MAX_DURATION, |timeout| timeout.min(MAX_DURATION))
    }
}

fn is_grpc_type(value: &HeaderValue) -> bool {
    value == "application/grpc" || value == "application/grpc+proto"
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIMED: Head = Head { timeout: None, trace: None };
    const TRACE: &str = "00-11111111111111111111111111111111-2222222222222222-01";
    const USUAL: [(&str, &str); 5] = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "grpc-go/1.80"),
        ("grpc-accept-encoding", "identity,gzip"),
        ("x-forwarded-for", "192.0.2.1"),
    ];

    fn request(fields: &[(&str, &str)]) -> Request<()> {
        let path = format!("http://localhost/{}", METHOD.name);
        let mut request = Request::post(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn head(fields: &[(&str, &str)]) -> Option<Head> {
        Head::of(&request(fields))
    }

    #[test]
    fn head_of_a_usual_request_is_accepted() {
        assert_eq!(head(&USUAL), Some(UNTIMED));
        assert_eq!(head(&[("content-type", "application/grpc+proto"), ("grpc-encoding", "identity")]), Some(UNTIMED));
        for (text, expected) in
            [("1S", Some(Duration::from_secs(1))), ("2M", Some(Duration::from_mins(2))), ("x", None)]
        {
            assert_eq!(
                head(&[USUAL[0], ("grpc-timeout", text)]),
                Some(Head { timeout: expected, trace: None }),
                "{text}"
            );
        }
    }

    #[test]
    fn head_has_the_trace_of_the_client() {
        let trace = TraceId::from_hex("11111111111111111111111111111111").ok();
        for (text, expected) in [(TRACE, trace), ("00-0-0-01", None), ("", None)] {
            let head = head(&[USUAL[0], ("tracestate", "a=b"), ("traceparent", text)]);
            assert_eq!(head, Some(Head { trace: expected, ..UNTIMED }), "{text}");
        }
    }

    #[test]
    fn head_that_the_ordinary_path_reads_is_handed_over() {
        for field in [
            ("authorization", "Bearer a.b.c"),
            ("authorization", ""),
            ("grpc-encoding", "gzip"),
            ("grpc-timeout", "999m"),
            ("grpc-timeout", "0S"),
            ("content-type", "application/grpc-web"),
            ("x-ecr-broker-hops", "1"),
            ("x-ecr-broker-caller-asserted", "uid:1,gid:1"),
            ("x-ecr-broker-", ""),
        ] {
            let mut fields = USUAL.to_vec();
            fields.push(field);
            assert_eq!(head(&fields), None, "{field:?}");
        }
        assert_eq!(head(&[("grpc-timeout", "5S"), ("grpc-timeout", "6S"), USUAL[0]]), None, "two time limits");
        assert_eq!(head(&[("grpc-timeout", "x"), ("grpc-timeout", "6S"), USUAL[0]]), None, "two time limits");
        assert_eq!(head(&[("traceparent", TRACE), ("traceparent", TRACE), USUAL[0]]), None, "two traces");
        assert_eq!(head(&USUAL[1..]), None, "no content type");
        let many: Vec<_> = std::iter::repeat_n(("x-more", "1"), 60).chain(USUAL).collect();
        assert_eq!(head(&many), None, "65 fields");
        assert_eq!(head(&many[1..]), Some(UNTIMED), "64 fields");
    }

    #[test]
    fn other_methods_paths_and_queries_are_handed_over() {
        let of = |method: HttpMethod, path: &str| {
            let mut request = request(&USUAL);
            *request.method_mut() = method;
            *request.uri_mut() = format!("http://localhost/{path}").parse().unwrap();
            Head::of(&request).is_some()
        };
        let path = METHOD.name;
        assert!(of(HttpMethod::POST, path));
        assert!(!of(HttpMethod::GET, path) && !of(HttpMethod::POST, &format!("{path}?a=b")));
        assert!(!of(HttpMethod::POST, "ecrbroker.v1.RegistryCredentialsService/BatchGetRegistryCredentials"));
        assert!(!of(HttpMethod::POST, &format!("{path}/")) && !of(HttpMethod::POST, &format!("/{path}")));
    }
}
