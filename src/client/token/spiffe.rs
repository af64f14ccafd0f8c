//! JWT-SVID from the SPIFFE Workload API, which the agent of the host serves.
//!
//! The messages are those of the published protocol; the agent knows the workload by its process, so a request has no secret.

use std::fmt;
use std::path::PathBuf;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::bearer_token::BearerToken;
use crate::client::error_chain::error_chain;
use crate::environment;

const SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";
const METHOD: &str = "/SpiffeWorkloadAPI/FetchJWTSVID";
/// An agent refuses requests without it, which a browser could be made to send.
const HEADER: &str = "workload.spiffe.io";

#[derive(Clone, prost::Message)]
struct JwtSvidRequest {
    #[prost(string, repeated, tag = "1")]
    audience: Vec<String>,
    /// Empty for the default identity.
    #[prost(string, tag = "2")]
    spiffe_id: String,
}

#[derive(Clone, prost::Message)]
struct JwtSvidResponse {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<JwtSvid>,
}

#[derive(Clone, prost::Message)]
#[prost(skip_debug)]
struct JwtSvid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(string, tag = "2")]
    svid: String,
}

impl fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSvid").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

/// Address of a Workload API.
#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Unix(PathBuf),
    Tcp(String),
}

pub(super) fn is_present() -> bool {
    environment::variable(SOCKET).is_some()
}

/// Requests a JWT-SVID for the audience.
pub(super) async fn request(audience: &str) -> Result<BearerToken, String> {
    let problem = |problem| format!("token_source spiffe: {problem}");
    let value = environment::variable(SOCKET).and_then(|value| value.into_string().ok());
    let value = value.ok_or_else(|| {
        problem(format!("{SOCKET} is not set; set it to the agent's socket: unix:///run/spire/agent.sock"))
    })?;
    fetch(&value, audience).await.map_err(problem)
}

async fn fetch(socket: &str, audience: &str) -> Result<BearerToken, String> {
    let parsed = Socket::parse(socket)
        .ok_or_else(|| format!("{SOCKET} is not an address; use unix:///PATH or tcp://IP:PORT"))?;
    let channel = parsed.connect().await.map_err(|error| {
        format!("the agent at {socket} does not answer: {}; start it, or correct {SOCKET}", error_chain(&error))
    })?;
    let answer = fetch_over(channel, audience).await.map_err(|status| of_status(&status))?;
    let first = answer.svids.into_iter().next();
    first
        .map(|svid| svid.svid.into())
        .ok_or_else(|| "the agent returned no JWT-SVID; check its registration".to_owned())
}

async fn fetch_over(channel: Channel, audience: &str) -> Result<JwtSvidResponse, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error_chain(&error)))?;
    let message = JwtSvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() };
    let mut request = Request::new(message);
    request.metadata_mut().insert(HEADER, MetadataValue::from_static("true"));
    let codec: ProstCodec<JwtSvidRequest, JwtSvidResponse> = ProstCodec::default();
    Ok(grpc.unary(request, PathAndQuery::from_static(METHOD), codec).await?.into_inner())
}

fn of_status(status: &Status) -> String {
    match status.code() {
        Code::PermissionDenied => "the agent knows no identity of this process; register an entry for it".to_owned(),
        code => format!("the agent refused: {code:?}: {}; read its log", status.message().escape_debug()),
    }
}

impl Socket {
    fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return path.starts_with('/').then(|| Self::Unix(path.into()));
        }
        let address: std::net::SocketAddr = text.strip_prefix("tcp://")?.parse().ok()?;
        Some(Self::Tcp(format!("http://{address}")))
    }

    async fn connect(self) -> Result<Channel, tonic::transport::Error> {
        match self {
            Self::Tcp(uri) => Endpoint::from_shared(uri)?.connect().await,
            Self::Unix(path) => {
                let connect = move |_| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                };
                Endpoint::from_static("http://localhost").connect_with_connector(service_fn(connect)).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_parsed_as_the_specification_has_them() {
        for (text, expected) in [
            ("unix:///run/agent.sock", Some(Socket::Unix("/run/agent.sock".into()))),
            ("unix:/run/agent.sock", Some(Socket::Unix("/run/agent.sock".into()))),
            ("tcp://127.0.0.1:8000", Some(Socket::Tcp("http://127.0.0.1:8000".to_owned()))),
            ("unix:agent.sock", None),
            ("/run/agent.sock", None),
            ("tcp://localhost:8000", None),
        ] {
            assert_eq!(Socket::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn token_of_an_answer_is_not_printed() {
        let svid = JwtSvid { spiffe_id: "spiffe://a/b".to_owned(), svid: "s3cret".to_owned() };
        let answer = JwtSvidResponse { svids: vec![svid] };
        let text = format!("{answer:?}");
        assert!(text.contains("spiffe://a/b") && !text.contains("s3cret"), "{text}");
    }
}
