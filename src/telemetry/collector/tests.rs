use std::net::TcpListener;
use std::thread;

use super::*;

/// A server that answers the question it knows, and closes the connection after any other.
fn server(known: &'static [u8], answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.expect("a connection");
            let mut question = [0; 16];
            stream.read_exact(&mut question).expect("a question");
            if known.is_empty() || question == known[..16] {
                stream.write_all(answer).expect("the peer reads");
            }
        }
    });
    port
}

fn diagnose(scheme: &str, port: u16, grpc: bool) -> Option<String> {
    Collector::of(&format!("{scheme}://user:secret@127.0.0.1:{port}/v1/traces"), grpc).expect("a URL").diagnose()
}

const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0d";
const REFUSAL: &[u8] = b"HTTP/1.1 404 Not Found\r\n\r\n";
/// A fatal alert, unexpected message.
const ALERT: &[u8] = b"\x15\x03\x03\0\x02\x02\x0a\0\0";

#[test]
fn wrong_protocol_and_wrong_scheme_are_named() {
    let over_http =
        "the port is for OTLP over HTTP; use the gRPC port (4317), or OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf";
    let over_grpc = "the port is for OTLP over gRPC; use the HTTP port (4318), or OTEL_EXPORTER_OTLP_PROTOCOL=grpc";
    let plaintext = "the collector does not speak TLS; use an http:// endpoint";
    let tls = "the collector speaks TLS; use an https:// endpoint";
    for (scheme, known, answer, grpc, cause) in [
        ("http", HTTP1, REFUSAL, true, Some(over_http)),
        ("http", HTTP2, SETTINGS, false, Some(over_grpc)),
        ("https", HTTP1, REFUSAL, false, Some(plaintext)),
        ("https", HTTP2, SETTINGS, true, Some(plaintext)),
        ("http", &[], ALERT, true, Some(tls)),
        ("http", &[], ALERT, false, Some(tls)),
        ("https", &[], ALERT, true, None),
        ("http", HTTP1, REFUSAL, false, None),
        ("http", HTTP2, SETTINGS, true, None),
    ] {
        assert_eq!(diagnose(scheme, server(known, answer), grpc).as_deref(), cause, "{scheme} {grpc} {answer:?}");
    }
}

#[test]
fn absent_collector_is_named_without_the_password_of_its_url() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let cause = diagnose("http", port, true).expect("nothing listens");
    assert!(cause.starts_with("cannot connect: Connection refused"), "{cause}");
    let collector = Collector::of(&format!("http://user:secret@127.0.0.1:{port}/?key=secret"), true).expect("a URL");
    assert_eq!(collector.to_string(), format!("http://127.0.0.1:{port}"));
}
