//! curl, which load balancers' checks resemble, on the ops listener: over TCP, TLS and a Unix socket.

use std::process::Command;

use super::certificates::{Authority, BROKER};
use super::other::{run, succeed, text};
use super::program::{SERVE_SIMULATED, Server};

fn curl(arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]).args(arguments);
    command
}

#[test]
#[ignore = "needs curl, which .ci/tools installs"]
fn curl_reads_the_ops_pages_over_tcp_and_a_unix_socket() {
    let (server, ops) = Server::start_with_ops(&SERVE_SIMULATED, &[]);
    let url = |path: &str| format!("http://{ops}{path}");
    assert_eq!(succeed(&mut curl(&["--fail", &url("/livez")])), "ok\n");
    assert!(succeed(&mut curl(&["--fail", "--compressed", &url("/metrics")])).contains("\necr_broker_build_info{"));
    let head = succeed(&mut curl(&["--head", &url("/livez")]));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\ncontent-length: 3\r\n"), "{head}");
    let several = succeed(&mut curl(&[&url("/livez"), &url("/nothing"), &url("/livez")]));
    assert_eq!(several, "ok\nnot found\nok\n", "over one connection");
    // curl's own upgrade to HTTP/2, and HTTP/1.0 as old checks speak it.
    for version in ["--http2", "--http1.0"] {
        assert_eq!(succeed(&mut curl(&[version, "--fail", &url("/livez")])), "ok\n", "{version}");
    }
    let post = run(&mut curl(&["--fail", "--data", "x=1", &url("/livez")]));
    assert_eq!(post.status.code(), Some(22), "405: {}", text(&post.stderr));
    server.stop();

    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ops.sock");
    let socket = socket.to_str().unwrap();
    let environment = [("ECR_BROKER_SERVER_OPS_LISTEN", &*format!("unix:{socket}"))];
    let (server, _) = Server::start_with_second("ops+unix:", &SERVE_SIMULATED, &environment);
    assert_eq!(succeed(&mut curl(&["--fail", "--unix-socket", socket, "http://any.name/livez"])), "ok\n");
    server.stop();
}

#[test]
#[ignore = "needs curl, which .ci/tools installs"]
fn curl_verifies_the_ops_listener_beyond_loopback_by_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca.pem", "authority");
    let (certificate, key) = authority.server().write(directory.path(), "server");
    let environment = [
        ("ECR_BROKER_SERVER_TLS_CERTIFICATE", certificate.to_str().unwrap()),
        ("ECR_BROKER_SERVER_TLS_KEY", key.to_str().unwrap()),
        ("ECR_BROKER_SERVER_OPS_LISTEN", "0.0.0.0:0"),
        ("ECR_BROKER_SERVER_OPS_HOSTS", BROKER),
    ];
    let (server, address) = Server::start_with_second("ops+https://", &SERVE_SIMULATED, &environment);
    let port = address.rsplit(':').next().unwrap();
    let (resolve, url) = (format!("{BROKER}:{port}:127.0.0.1"), format!("https://{BROKER}:{port}/livez"));
    let verified = ["--fail", "--cacert", authority.file.to_str().unwrap(), "--resolve", &resolve, &url];
    assert_eq!(succeed(&mut curl(&verified)), "ok\n");
    let unverified = run(&mut curl(&["--resolve", &resolve, &url]));
    assert_eq!(unverified.status.code(), Some(60), "the CA is unknown: {}", text(&unverified.stderr));
    // The kubelet does not verify.
    assert_eq!(succeed(&mut curl(&["--fail", "--insecure", &format!("https://127.0.0.1:{port}/livez")])), "ok\n");
    server.stop();
}
