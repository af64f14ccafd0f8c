//! gRPC clients in other languages, over TCP and over a Unix socket.

use std::path::Path;
use std::process::Command;

use super::PRIVATE;
use super::other::{python, run, script, succeed, text, tool, tools};
use super::program::{SERVE_SIMULATED, Server};

const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";

/// A broker that listens on a port and on a socket.
struct Broker {
    _directory: tempfile::TempDir,
    _server: Server,
    addresses: [String; 2],
}

fn broker() -> Broker {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("broker.sock").display());
    let server = Server::start(&[&SERVE_SIMULATED[..], &["--listen", &socket]].concat(), &[]);
    let tcp = server.address.trim_start_matches("grpc://").to_owned();
    Broker { _directory: directory, _server: server, addresses: [tcp, socket] }
}

/// grpcurl 1.9.3 accepts a socket as `unix:/path`. Its flag `-unix` fails with "missing port in address".
fn grpcurl(arguments: &[&str]) -> Command {
    let mut command = tool("bin/grpcurl");
    command.arg("-plaintext").args(arguments);
    command
}

#[test]
#[ignore = "needs grpcurl, which .ci/tools installs"]
fn grpcurl_lists_describes_and_calls_over_reflection() {
    let broker = broker();
    for address in &broker.addresses {
        let listed = succeed(&mut grpcurl(&[address, "list"]));
        assert!(listed.lines().any(|line| line == SERVICE) && listed.contains("grpc.health.v1.Health"), "{listed}");
        let described = succeed(&mut grpcurl(&[address, "describe", "ecrbroker.v1.RegistryCredentials"]));
        assert!(described.contains("Do not log it") && described.contains("debug_redact = true"), "{described}");
        let request = format!(r#"{{"registry": "https://{PRIVATE}/app:1", "minValidity": "3600s"}}"#);
        let method = format!("{SERVICE}/GetRegistryCredentials");
        let answer = succeed(&mut grpcurl(&["-d", &request, address, &method]));
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["credentials"]["registry"], PRIVATE);
        assert_eq!(answer["credentials"]["registryType"], "REGISTRY_TYPE_PRIVATE");
        let health = succeed(&mut grpcurl(&[address, "grpc.health.v1.Health/Check"]));
        assert!(health.contains("SERVING"), "{health}");
    }
}

#[test]
#[ignore = "needs grpcurl, which .ci/tools installs"]
fn grpcurl_decodes_error_details() {
    let broker = broker();
    for address in &broker.addresses {
        let method = format!("{SERVICE}/GetRegistryCredentials");
        let output = run(&mut grpcurl(&["-d", r#"{"registry": "ghcr.io"}"#, address, &method]));
        assert!(!output.status.success());
        let error = text(&output.stderr);
        for part in ["InvalidArgument", "google.rpc.ErrorInfo", "REGISTRY_NOT_ECR", "fieldViolations", "requestId"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

/// gRPC C-core sends the percent-encoded socket path as `:authority`, which h2 rejects. The broker rewrites it.
#[test]
#[ignore = "needs Python's grpcio, which .ci/tools installs"]
fn grpcio_calls_over_tcp_and_a_unix_socket() {
    succeed(python().arg(script("grpc_client.py")).args(broker().addresses.each_ref()));
}

/// A script for Node, with the folder of google/rpc's messages as its first argument.
fn node(name: &str) -> Command {
    let google_rpc = succeed(python().args(["-c", "import google.rpc; print(*google.rpc.__path__)"]));
    let mut node = Command::new("node");
    node.env("NODE_PATH", tools().join("node/node_modules")).arg(script(name));
    node.arg(Path::new(google_rpc.trim()).ancestors().nth(2).unwrap());
    node
}

#[test]
#[ignore = "needs Node and @grpc/grpc-js, which .ci/tools installs"]
fn grpc_js_calls_over_tcp_and_a_unix_socket() {
    succeed(node("grpc_client.js").args(broker().addresses.each_ref()));
}

/// A broker that lets a caller make 10 requests per second.
fn slow_broker() -> (Server, String) {
    let server = Server::start(&SERVE_SIMULATED, &[("ECR_BROKER_LIMITS_LOCAL_REQUESTS_PER_SECOND", "10")]);
    let address = server.address.trim_start_matches("grpc://").to_owned();
    (server, address)
}

#[test]
#[ignore = "needs Python's grpcio, which .ci/tools installs"]
fn grpcio_retries_after_the_delay_that_the_broker_asks_for() {
    let (_server, address) = slow_broker();
    succeed(python().arg(script("grpc_retry.py")).arg(address));
}

#[test]
#[ignore = "needs Node and @grpc/grpc-js, which .ci/tools installs"]
fn grpc_js_retries_after_the_delay_that_the_broker_asks_for() {
    let (_server, address) = slow_broker();
    succeed(node("grpc_retry.js").arg(address));
}

/// A channel-wide setting of grpcio compresses the requests of every service.
#[test]
#[ignore = "needs Python's grpcio, which .ci/tools installs"]
fn grpcio_sends_compressed_requests_and_bombs_are_refused() {
    let broker = broker();
    succeed(python().arg(script("grpc_compressed.py")).arg(&broker.addresses[0]));
}
