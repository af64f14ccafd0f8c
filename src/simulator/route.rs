//! From a request to the service that answers it.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::wire::{Answer, Call, Refusal, RequestId};
use super::world::World;
use super::{ecr, sts, web_identity};

/// The longest body that is read. The longest an SDK sends is a web identity token of 20,000 characters.
const LONGEST_BODY: usize = 64 * 1024;

/// Answers one request; an answer there always is, unless a fault keeps it back.
pub(super) async fn answer(world: &World, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let id = RequestId::new();
    let span = tracing::debug_span!("simulated_aws", operation = Empty, region = Empty, request_id = id.as_str());
    async {
        let answer = match read(body).await {
            Ok(body) => answer_call(world, &Call { head, body, id: id.clone() }).await,
            Err(refusal) => refusal.into_json(),
        };
        tracing::debug!(outcome = answer.outcome(), "answered");
        answer.into_response(&id)
    }
    .instrument(span)
    .await
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            "The request is longer than the simulated AWS reads",
        )),
        Err(error) => Err(Refusal::bad_request("RequestAbortedException", error.to_string())),
    }
}

async fn answer_call(world: &World, call: &Call) -> Answer {
    if call.head.method == Method::GET
        && let Some(document) = web_identity::document(world, call)
    {
        return document;
    }
    if call.head.uri.path() != "/" {
        return Refusal::unknown_operation().into_json();
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
