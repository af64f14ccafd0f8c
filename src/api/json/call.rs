//! The call in this process: gRPC's framing around the message, and the outcome in its response.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tonic::body::Body;
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::{Code, Status};

use crate::api::grpc::methods::GET_REGISTRY_CREDENTIALS;
use crate::pb::{GetRegistryCredentialsRequest, GetRegistryCredentialsResponse, RegistryCredentials};

/// Headers that a call takes over: the proof of its caller, and its trace.
const TAKEN_OVER: [HeaderName; 3] =
    [AUTHORIZATION, HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];
/// The flag for compression and the length, before a message.
const PREFIX: usize = 5;

/// Returns the call of a message, with the headers of the request that it comes from.
pub(super) fn request(message: &GetRegistryCredentialsRequest, headers: &HeaderMap) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(framed(message)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = Uri::try_from(format!("/{}", GET_REGISTRY_CREDENTIALS.name)).unwrap_or_default();
    for (name, value) in headers.iter().filter(|(name, _)| TAKEN_OVER.contains(name)) {
        request.headers_mut().append(name, value.clone());
    }
    request.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    request
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
