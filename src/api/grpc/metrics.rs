//! Metrics of gRPC calls. Names follow OpenTelemetry's RPC conventions.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::methods::{METHOD_NAMES, Method};
use crate::metrics::{Counter, Family, Histogram, Label, Registry};

/// Metrics of gRPC calls.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    durations: Family<(RpcMethod, StatusCode), Histogram>,
    started: Counter,
    ended: Counter,
}

/// The method of a call, by its index in the table.
#[derive(Debug, Clone, Copy)]
struct RpcMethod(usize);

/// The status of a call.
#[derive(Debug, Clone, Copy)]
struct StatusCode(Code);

/// A call in flight. Dropping it records how the call ended.
#[derive(Debug)]
pub(super) struct CallInFlight {
    metrics: Metrics,
    method: &'static Method,
    started: Instant,
    code: Code,
}

/// The body of an endless response, which ends its call.
struct Recorded {
    inner: Body,
    call: CallInFlight,
}

impl Label for RpcMethod {
    const NAME: &'static str = "rpc_method";
    const VALUES: &'static [&'static str] = &METHOD_NAMES;

    fn index(self) -> usize {
        self.0
    }
}

impl Label for StatusCode {
    const NAME: &'static str = "rpc_response_status_code";
    /// By number, as in gRPC's table.
    const VALUES: &'static [&'static str] = &[
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    fn index(self) -> usize {
        self.0 as usize
    }
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let help = "Duration of gRPC calls; of streams until their end";
        let durations = registry.call_durations("rpc_server_call_duration_seconds", help);
        let metrics = Self { durations, started: Counter::default(), ended: Counter::default() };
        let counts = metrics.clone();
        registry.on_scrape(move |scrape| {
            // In this order: a call that ends meanwhile must not make the difference negative.
            let ended = counts.ended.get();
            let in_flight = counts.started.get().saturating_sub(ended);
            scrape.gauge("ecr_broker_rpcs_in_flight", "gRPC calls in flight, streams included", in_flight)
        });
        metrics
    }

    /// Begins a call.
    pub(super) fn begin(&self, method: &'static Method, started: Instant) -> CallInFlight {
        self.started.inc();
        // Until there is a response, only its client can end a call.
        CallInFlight { metrics: self.clone(), method, started, code: Code::Cancelled }
    }
}

impl CallInFlight {
    /// Ends the call with its response; an endless one ends it with its last frame.
    pub(super) fn respond(mut self, response: Response<Body>) -> Response<Body> {
        match code(response.headers()) {
            None if self.method.streams_responses() => response.map(|inner| Body::new(Recorded { inner, call: self })),
            code => {
                self.code = code.unwrap_or(Code::Ok);
                response
            }
        }
    }
}

impl Drop for CallInFlight {
    fn drop(&mut self) {
        let Self { metrics, method, started, code } = self;
        metrics.durations.with((RpcMethod(method.index), StatusCode(*code))).observe(started.elapsed());
        metrics.ended.inc();
    }
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code) {
                    self.call.code = code;
                }
            }
            Some(Err(status)) => self.call.code = status.code(),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Returns the status in headers or trailers.
fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_have_the_names_of_their_numbers() {
        for (number, name) in (0..).zip(StatusCode::VALUES) {
            let debug = format!("{:?}", Code::from_i32(number)).to_uppercase();
            assert_eq!(debug, name.replace('_', ""));
            assert_eq!(StatusCode(Code::from_i32(number)).index(), usize::try_from(number).unwrap());
        }
        assert_eq!(Code::from_i32(17), Code::Unknown);
    }
}
