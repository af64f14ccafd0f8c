//! The ECR API: `GetAuthorizationToken` in AWS's form, from the broker's cache, for callers with the secret.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../program/mod.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;

mod callers;
mod connections;
mod serving;
mod tokens;

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use ecr_broker::audit::Output;
use ecr_broker::caller::Caller;
use ecr_broker::error::FailureClass;
use ecr_broker::limits::{Attempt, Limits, Origin};
use ecr_broker::policy::{Accounts, CallerPattern, Effect, Grant, Policy, RegistryPattern};
use futures_util::future::join_all;
use program::{Ended, SERVE_SIMULATED, Server, run};
use serde_json::{Value, json};
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const SECRET: &str = AWS_API_SECRET;
const PRIVATE: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
const PUBLIC: &str = "SpencerFrontendService.GetAuthorizationToken";
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Limit for a slow peer to be disconnected, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A response.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HashMap<String, String>,
    body: Value,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers = lines.filter_map(header).collect();
        Self { status, headers, body: serde_json::from_str(body).unwrap_or_default() }
    }

    /// Returns status and code, by which an SDK knows the error.
    fn error(&self) -> (u16, &str) {
        let code = self.body["__type"].as_str().unwrap_or_default();
        assert_eq!(self.headers.get("x-amzn-errortype").map_or("", String::as_str), code);
        (self.status, code)
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap()
    }

    fn id(&self) -> &str {
        &self.headers["x-amzn-requestid"]
    }

    fn data(&self) -> &Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/x-amz-json-1.1");
        &self.body["authorizationData"]
    }
}

/// A request as SDKs send it.
struct Call<'a> {
    method: &'a str,
    path: String,
    headers: Vec<(&'a str, String)>,
    body: String,
}

impl<'a> Call<'a> {
    fn new(target: &str, body: &Value) -> Self {
        let headers =
            vec![("content-type", "application/x-amz-json-1.1".to_owned()), ("x-amz-target", target.to_owned())];
        Self { method: "POST", path: format!("/t/{SECRET}"), headers, body: body.to_string() }
    }

    fn private() -> Self {
        Self::new(PRIVATE, &json!({}))
    }

    fn of(accounts: &[&str]) -> Self {
        Self::new(PRIVATE, &json!({ "registryIds": accounts }))
    }

    fn public() -> Self {
        Self::new(PUBLIC, &json!({}))
    }

    fn method(self, method: &'a str) -> Self {
        Self { method, ..self }
    }

    fn path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    fn body(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }
    }

    /// Replaces a header of this name.
    fn header(mut self, name: &'a str, value: &str) -> Self {
        self.headers.retain(|(own, _)| *own != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Signs for a region, with keys that the broker does not know.
    fn signed_for(self, region: &str, service: &str) -> Self {
        let scope = format!("Credential=AKIAEXAMPLE/20261125/{region}/{service}/aws4_request");
        self.header("authorization", &format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0123"))
    }

    fn bytes(&self) -> Vec<u8> {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (headers, Self { method, path, body, .. }) = (headers.concat(), self);
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
            .into_bytes()
    }

    async fn send(self, to: SocketAddr) -> Reply {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let bytes = self.header("connection", "close").bytes();
        // A request that is rejected by its headers may be answered before the body is sent.
        _ = stream.write_all(&bytes).await;
        Reply::parse(&rest(&mut stream).await)
    }
}

/// Reads until the end.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    _ = timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("an end");
    bytes
}

fn write_secret(directory: &Path, secret: &str) -> std::path::PathBuf {
    let file = directory.join("aws-api-secret");
    fs::write(&file, secret).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// A broker, and the address of its ECR API.
fn broker() -> (TestBroker, SocketAddr) {
    let broker = TestBroker::start();
    let at = broker.aws_api;
    (broker, at)
}

fn password(authorization: &Value) -> String {
    let token = BASE64.decode(authorization["authorizationToken"].as_str().unwrap().as_bytes()).unwrap();
    String::from_utf8(token).unwrap().strip_prefix("AWS:").unwrap().to_owned()
}
