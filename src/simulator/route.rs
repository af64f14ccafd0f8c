//! From a request to the service that answers it.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::simulated_aws::SimulatedAws;
use super::{ecr, sts, web_identity};
use crate::aws_wire::{self, Answer, Call};

/// Answers one request; an answer there always is, unless a fault keeps it back.
pub(super) async fn answer(world: &SimulatedAws, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let id = new_id();
    let span = tracing::debug_span!("simulated_aws", operation = Empty, region = Empty, request_id = id);
    async {
        let answer = match aws_wire::read(body).await {
            Ok(body) => answer_call(world, &Call { head, body, id: id.clone() }).await,
            Err(refusal) => refusal.into_json(),
        };
        tracing::debug!(outcome = answer.outcome(), "answered");
        answer.into_response(&id)
    }
    .instrument(span)
    .await
}

/// The name AWS gives a request, in the form of a UUID.
fn new_id() -> String {
    let mut id = format!("{:032x}", fastrand::u128(..));
    for dash in [8, 13, 18, 23] {
        id.insert(dash, '-');
    }
    id
}

async fn answer_call(world: &SimulatedAws, call: &Call) -> Answer {
    if call.head.method == Method::GET
        && let Some(document) = web_identity::document(world, call)
    {
        return document;
    }
    if call.head.uri.path() != "/" {
        return ecr::unknown_operation().into_json();
    }
    if is_query(call) { sts::answer(world, call).await } else { ecr::answer(world, call).await }
}

/// Whether it speaks the query protocol; everything else is taken for JSON 1.1.
fn is_query(call: &Call) -> bool {
    match call.head.method {
        Method::GET => call.head.uri.query().is_some(),
        Method::POST => {
            call.header(&CONTENT_TYPE).is_some_and(|content| content.starts_with("application/x-www-form-urlencoded"))
        }
        _ => false,
    }
}
