//! The call in this process: its way into the middleware, gRPC's framing around the message, and the outcome in its response.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{Extensions, HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tonic::body::Body;
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::{Code, Status};

use crate::api::grpc::methods::GET_REGISTRY_CREDENTIALS;
use crate::pb::{GetRegistryCredentialsRequest, GetRegistryCredentialsResponse, RegistryCredentials};

/// Headers for the middleware: the proof of the caller, and its trace.
const FOR_MIDDLEWARE: [HeaderName; 3] =
    [AUTHORIZATION, HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];
/// The flag for compression and the length, before a message.
const PREFIX: usize = 5;

/// Returns the call that a request makes, with the headers for the middleware. Nothing behind it sees the proof of the caller.
pub(super) fn enter<B>(mut request: Request<B>) -> Request<Request<B>> {
    let mut headers = HeaderMap::new();
    for name in FOR_MIDDLEWARE {
        // Each of several values: the middleware refuses a call with two proofs.
        for value in request.headers().get_all(&name) {
            headers.append(&name, value.clone());
        }
        request.headers_mut().remove(&name);
    }
    let mut call = of(request);
    *call.headers_mut() = headers;
    call
}

/// Returns the call of a message; `extensions` are what the middleware says of it.
pub(super) fn request(message: &GetRegistryCredentialsRequest, extensions: Extensions) -> Request<Full<Bytes>> {
    let mut call = of(Full::new(framed(message)));
    *call.extensions_mut() = extensions;
    call.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    call
}

fn of<B>(body: B) -> Request<B> {
    let mut call = Request::new(body);
    *call.method_mut() = Method::POST;
    *call.uri_mut() = Uri::try_from(format!("/{}", GET_REGISTRY_CREDENTIALS.name)).unwrap_or_default();
    call
}

/// Returns what a call ended with.
pub(super) async fn outcome(response: Response<Body>) -> Result<RegistryCredentials, Status> {
    check(response.headers())?;
    let collected = response.into_body().collect().await?;
    collected.trailers().map_or(Ok(()), check)?;
    let message = collected.to_bytes();
    let credentials = message.get(PREFIX..).and_then(|text| GetRegistryCredentialsResponse::decode(text).ok());
    credentials
        .and_then(|response| response.credentials)
        .ok_or_else(|| Status::internal("response without credentials"))
}

/// Fails with the status of headers or trailers, unless it is OK.
fn check(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut frame);
    frame.freeze()
}
