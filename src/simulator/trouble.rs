//! What latency and faults do to a call.

use std::future;

use http::StatusCode;

use super::fault::{self, Fault};
use super::simulated_aws::{AuthenticatedCall, SimulatedAws};
use crate::aws_wire::{Answer, Refusal};

/// Makes a call wait and fail as the settings have it. `None` lets it pass to its right answer; `garbage` holds the bodies
/// that are no answer in the call's protocol.
pub(super) async fn strike(
    world: &SimulatedAws,
    arrival: &AuthenticatedCall,
    garbage: &[&'static [u8]],
) -> Result<Option<Answer>, Refusal> {
    let latency = world.settings().latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let fault = fault::roll(&world.settings().faults);
    match fault {
        None => Ok(None),
        Some(Fault::Throttle) => Err(Refusal::bad_request("ThrottlingException", "Rate exceeded")),
        Some(Fault::ThrottleException) => Err(Refusal::bad_request("ThrottleException", "Rate exceeded")),
        Some(Fault::Http429) => Ok(Some(Answer::faulty(StatusCode::TOO_MANY_REQUESTS, b"", "bare status"))),
        Some(Fault::Denied) => Err(Refusal::bad_request("AccessDeniedException", denial(arrival))),
        Some(Fault::ServerError) => Err(broken()),
        Some(Fault::Hang) => hang().await,
        Some(Fault::Garbage) => {
            Ok(fastrand::choice(garbage).map(|body| Answer::faulty(StatusCode::OK, body, "garbage")))
        }
    }
}

fn denial(arrival: &AuthenticatedCall) -> String {
    let AuthenticatedCall { service, operation, principal, .. } = arrival;
    format!(
        "User: {} is not authorized to perform: {service}:{operation} on resource: * because no identity-based policy \
         allows the {service}:{operation} action",
        principal.arn
    )
}

fn broken() -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "ServerException",
        "These errors are usually caused by a server-side issue.",
    )
}

/// Until the client leaves or the simulator ends, either of which drops this.
async fn hang<T>() -> T {
    tracing::debug!(outcome = "hang", "left without an answer");
    future::pending().await
}
