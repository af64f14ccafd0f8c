//! Routing: from an HTTP request to its service.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::simulated_aws::SimulatedAws;
use super::{ecr, registry_api, signin, sts, web_identity};
use crate::aws_wire::{self, AwsRequest, AwsResponse};

/// Responds to one request. Every request gets a response, unless a fault holds it back.
pub(super) async fn respond(aws: &SimulatedAws, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let id = new_id();
    let span = tracing::debug_span!("simulated_aws", operation = Empty, region = Empty, request_id = id);
    async {
        if registry_api::serves(&head) {
            return registry_api::respond(aws, (head, body), &id).await;
        }
        let response = match aws_wire::read_body(body).await {
            Ok(body) => dispatch(aws, &AwsRequest { head, body, id: id.clone() }).await,
            Err(error) => AwsResponse::json_error(error),
        };
        tracing::debug!(outcome = response.outcome(), "request answered");
        response.into_http(&id)
    }
    .instrument(span)
    .await
}

/// Returns a new request ID: a UUID, as AWS's are.
fn new_id() -> String {
    let mut id = format!("{:032x}", fastrand::u128(..));
    for dash in [8, 13, 18, 23] {
        id.insert(dash, '-');
    }
    id
}

async fn dispatch(aws: &SimulatedAws, request: &AwsRequest) -> AwsResponse {
    if request.head.method == Method::GET
        && let Some(document) = web_identity::document(aws, request)
    {
        return document;
    }
    if signin::serves(request) {
        return signin::respond(aws, request).await;
    }
    if request.head.uri.path() != "/" {
        return AwsResponse::json_error(ecr::unknown_operation());
    }
    if is_query(request) { sts::respond(aws, request).await } else { ecr::respond(aws, request).await }
}

/// Returns whether the request speaks the query protocol; every other request counts as JSON 1.1.
fn is_query(request: &AwsRequest) -> bool {
    match request.head.method {
        Method::GET => request.head.uri.query().is_some(),
        Method::POST => request
            .header(&CONTENT_TYPE)
            .is_some_and(|content| content.starts_with("application/x-www-form-urlencoded")),
        _ => false,
    }
}
