//! The SPIFFE Workload API, which the agent of the host serves.
//!
//! The agent knows the workload by its process, so a request has no secret.

use std::net::SocketAddr;
use std::path::PathBuf;

use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tower::service_fn;

use super::error_chain::error_chain;
use super::unix_socket;
use crate::environment;

const SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";
/// An agent refuses requests without it, which a browser could be made to send.
const HEADER: &str = "workload.spiffe.io";

/// Address of a Workload API.
#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Unix(PathBuf),
    Tcp(String),
}

/// Returns whether the environment names an agent.
pub(super) fn is_present() -> bool {
    environment::variable(SOCKET).is_some()
}

/// Connects to the agent that the environment names.
pub(super) async fn connect() -> Result<Grpc<Channel>, String> {
    let value = environment::variable(SOCKET).and_then(|value| value.into_string().ok());
    let value = value
        .ok_or_else(|| format!("{SOCKET} is not set; set it to the agent's socket: unix:///run/spire/agent.sock"))?;
    let socket = Socket::parse(&value)
        .ok_or_else(|| format!("{SOCKET} is not an address; use unix:///PATH or tcp://IP:PORT"))?;
    let no_answer = |error| {
        let cause = error_chain(&error);
        format!("the agent at {value} does not answer: {cause}; start it, or correct {SOCKET}")
    };
    let mut grpc = Grpc::new(socket.connect().await.map_err(no_answer)?);
    grpc.ready().await.map_err(no_answer)?;
    Ok(grpc)
}

/// Returns a request that an agent accepts.
pub(super) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(HEADER, MetadataValue::from_static("true"));
    request
}

/// Returns why the agent refused, and the fix.
pub(super) fn refusal(status: &Status) -> String {
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
        let address: SocketAddr = text.strip_prefix("tcp://")?.parse().ok()?;
        Some(Self::Tcp(format!("http://{address}")))
    }

    async fn connect(self) -> Result<Channel, tonic::transport::Error> {
        match self {
            Self::Tcp(uri) => Endpoint::from_shared(uri)?.connect().await,
            Self::Unix(path) => {
                let connect = service_fn(move |_| unix_socket::connect(path.clone()));
                Endpoint::from_static("http://localhost").connect_with_connector(connect).await
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
}
