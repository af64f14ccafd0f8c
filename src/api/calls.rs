//! Metrics of the calls of every front end. Names follow OpenTelemetry's RPC conventions.

use std::sync::Arc;

use tokio::time::Instant;

use super::ecr::Operation;
use super::grpc::methods::{METHOD_NAMES, Method};
use crate::metrics::{Counter, Family, Histogram, Label, Registry};

/// Metrics of calls. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub struct Calls(Arc<Metrics>);

#[derive(Debug)]
struct Metrics {
    durations: Family<(RpcMethod, ResponseCode), Histogram>,
    started: Counter,
    ended: Counter,
}

/// A call in flight. Dropping it records how the call ended.
#[derive(Debug)]
pub(super) struct CallInFlight {
    calls: Calls,
    method: RpcMethod,
    started: Instant,
    code: ResponseCode,
}

/// The method of a call: of gRPC by its index in the table, or an operation of the ECR API.
#[derive(Debug, Clone, Copy)]
pub(super) struct RpcMethod(usize);

/// How a call ended: a status of gRPC, or an error code of AWS.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseCode(usize);

impl From<&'static Method> for RpcMethod {
    fn from(method: &'static Method) -> Self {
        Self(method.index)
    }
}

impl From<Operation> for RpcMethod {
    /// Other operations have the name of other methods.
    fn from(operation: Operation) -> Self {
        let position = Operation::NAMED.iter().position(|named| *named == operation);
        Self(position.map_or(METHOD_NAMES.len() - 1, |position| METHOD_NAMES.len() + position))
    }
}

impl Label for RpcMethod {
    const NAME: &'static str = "rpc_method";
    const VALUES: &'static [&'static str] = &{
        let mut names = [""; METHOD_NAMES.len() + Operation::NAMED.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = if index < METHOD_NAMES.len() {
                METHOD_NAMES[index]
            } else {
                Operation::NAMED[index - METHOD_NAMES.len()].name()
            };
            index += 1;
        }
        names
    };

    fn index(self) -> usize {
        self.0
    }
}

impl ResponseCode {
    /// The call was given up: its client ended it.
    const CANCELLED: Self = Self(1);

    /// Returns a status of gRPC.
    pub(super) fn grpc(code: tonic::Code) -> Self {
        Self(code as usize)
    }

    /// Returns an error code of AWS, or `OK`.
    pub(super) fn aws(code: &'static str) -> Self {
        let known = Self::VALUES.iter().position(|known| *known == code);
        Self(known.unwrap_or(Self::VALUES.len() - 1))
    }
}

impl Label for ResponseCode {
    const NAME: &'static str = "rpc_response_status_code";
    /// gRPC's by number, as in its table, then the codes that the ECR API answers with.
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
        "AccessDeniedException",
        "IncompleteSignatureException",
        "InvalidParameterException",
        "MissingAuthenticationTokenException",
        "RequestAbortedException",
        "RequestEntityTooLargeException",
        "RequestTimeoutException",
        "SerializationException",
        "ServerException",
        "ThrottlingException",
        "UnknownOperationException",
        "_OTHER",
    ];

    fn index(self) -> usize {
        self.0
    }
}

impl Calls {
    /// Registers the metrics.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let help = "Duration of calls of gRPC and of the ECR API; of streams until their end";
        let durations = registry.call_durations("rpc_server_call_duration_seconds", help);
        let metrics = Arc::new(Metrics { durations, started: Counter::default(), ended: Counter::default() });
        let counts = Arc::clone(&metrics);
        registry.on_scrape(move |scrape| {
            // In this order: a call that ends meanwhile must not make the difference negative.
            let ended = counts.ended.get();
            let in_flight = counts.started.get().saturating_sub(ended);
            scrape.gauge("ecr_broker_rpcs_in_flight", "Calls in flight, streams included", in_flight)
        });
        Self(metrics)
    }

    /// Begins a call.
    pub(super) fn begin(&self, method: impl Into<RpcMethod>, started: Instant) -> CallInFlight {
        self.0.started.inc();
        // Until there is a response, only its client can end a call.
        CallInFlight { calls: self.clone(), method: method.into(), started, code: ResponseCode::CANCELLED }
    }
}

impl CallInFlight {
    /// Notes how the call ends.
    pub(super) fn set_code(&mut self, code: ResponseCode) {
        self.code = code;
    }
}

impl Drop for CallInFlight {
    fn drop(&mut self) {
        let Self { calls, method, started, code } = self;
        let Calls(calls) = calls;
        calls.durations.with((*method, *code)).observe(started.elapsed());
        calls.ended.inc();
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn name<L: Label>(label: L) -> &'static str {
        L::VALUES[label.index()]
    }

    #[test]
    fn status_codes_have_the_names_of_their_numbers() {
        for number in 0..17 {
            let code = Code::from_i32(number);
            assert_eq!(name(ResponseCode::grpc(code)).replace('_', ""), format!("{code:?}").to_uppercase());
        }
        assert_eq!(Code::from_i32(17), Code::Unknown);
        assert_eq!(name(ResponseCode::CANCELLED), "CANCELLED");
    }

    #[test]
    fn codes_of_aws_are_a_closed_set() {
        let aws = |code| name(ResponseCode::aws(code));
        assert_eq!((aws("OK"), aws("ServerException"), aws("Made up")), ("OK", "ServerException", "_OTHER"));
    }

    #[test]
    fn methods_and_operations_share_a_label() {
        let method = Method::of("/grpc.health.v1.Health/Check");
        assert_eq!(name(RpcMethod::from(method)), "grpc.health.v1.Health/Check");
        assert_eq!(name(RpcMethod::from(Method::of("/none"))), "_OTHER");
        for operation in [Operation::Private, Operation::Public, Operation::Other] {
            assert_eq!(name(RpcMethod::from(operation)), operation.name());
        }
    }
}
