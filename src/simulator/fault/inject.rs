//! Latency and faults of a call.

use std::future;

use http::StatusCode;

use super::rate::{Fault, FaultRate};
use crate::aws_wire::{AwsError, AwsResponse};
use crate::simulator::call::AuthenticatedCall;
use crate::simulator::simulated_aws::SimulatedAws;

/// Delays and fails a call as the settings say. `None` lets the call continue. `garbage` holds the malformed bodies of the call's
/// protocol.
pub(in crate::simulator) async fn inject(
    aws: &SimulatedAws,
    call: &AuthenticatedCall,
    garbage: &[&'static [u8]],
) -> Result<Option<AwsResponse>, AwsError> {
    let latency = aws.settings().latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let fault = roll(&aws.settings().faults);
    match fault {
        None => Ok(None),
        Some(Fault::Throttle) => Err(AwsError::bad_request("ThrottlingException", "Rate exceeded")),
        Some(Fault::ThrottleException) => Err(AwsError::bad_request("ThrottleException", "Rate exceeded")),
        Some(Fault::Http429) => Ok(Some(AwsResponse::fault(StatusCode::TOO_MANY_REQUESTS, b"", "bare status"))),
        Some(Fault::Denied) => Err(AwsError::bad_request("AccessDeniedException", denial(call))),
        Some(Fault::ServerError) => Err(server_error()),
        Some(Fault::Hang) => hang().await,
        Some(Fault::Garbage) => {
            Ok(fastrand::choice(garbage).map(|body| AwsResponse::fault(StatusCode::OK, body, "garbage")))
        }
    }
}

/// Returns the first fault that strikes. Each has its own roll.
fn roll(faults: &[FaultRate]) -> Option<Fault> {
    faults.iter().find(|fault| fastrand::f64() < fault.rate).map(|fault| fault.fault)
}

fn denial(call: &AuthenticatedCall) -> String {
    let AuthenticatedCall { service, operation, principal, .. } = call;
    format!(
        "User: {} is not authorized to perform: {service}:{operation} on resource: * because no identity-based policy \
         allows the {service}:{operation} action",
        principal.arn
    )
}

fn server_error() -> AwsError {
    AwsError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "ServerException",
        "These errors are usually caused by a server-side issue.",
    )
}

/// Waits until the client disconnects or the simulator ends; either drops this future.
async fn hang<T>() -> T {
    tracing::debug!(outcome = "hang", "request left without a response");
    future::pending().await
}
