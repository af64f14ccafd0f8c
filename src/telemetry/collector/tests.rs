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

fn collector(url: &str, grpc: bool, proxies: &Proxies) -> Collector {
    Collector::new(&url.parse().expect("a URL"), grpc, proxies)
}

fn diagnose(scheme: &str, port: u16, grpc: bool) -> Option<String> {
    let url = format!("{scheme}://user:secret@127.0.0.1:{port}/v1/traces");
    collector(&url, grpc, &Proxies::default()).diagnose()
}

/// A port at which nothing listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port()
}

fn proxies(url: &str) -> Proxies {
    let (proxies, errors) = Proxies::read(|name| (name == "HTTP_PROXY").then(|| url.into()));
    assert!(errors.is_empty(), "{errors:?}");
    proxies
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
    let port = closed_port();
    let cause = diagnose("http", port, true).expect("nothing listens");
    assert!(cause.starts_with("cannot connect: Connection refused"), "{cause}");
    let url = format!("http://user:secret@127.0.0.1:{port}/?key=secret");
    assert_eq!(collector(&url, true, &Proxies::default()).to_string(), format!("http://127.0.0.1:{port}"));
}

#[test]
fn proxy_that_cannot_be_reached_is_named_without_its_password() {
    let port = closed_port();
    let of_environment = proxies(&format!("http://user:secret@127.0.0.1:{port}"));
    let over_http = collector("http://collector.example:4318", false, &of_environment);
    let cause = over_http.diagnose().expect("nothing listens");
    let expected = format!("cannot connect to the proxy http://127.0.0.1:{port}: Connection refused");
    assert!(cause.starts_with(&expected) && cause.ends_with("or set NO_PROXY"), "{cause}");
    assert_eq!(over_http.proxy().map(ToString::to_string), Some(format!("http://127.0.0.1:{port}")));
    assert!(!format!("{over_http:?}").contains("secret"));
    assert_eq!(collector("http://127.0.0.1:4318", false, &of_environment).proxy(), None, "loopback has no proxy");
}

#[test]
fn proxy_that_answers_is_not_asked_for_the_protocol() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let of_environment = proxies(&format!("http://{}", listener.local_addr().expect("bound")));
    assert_eq!(collector("http://collector.example:4318", false, &of_environment).diagnose(), None);
}

#[test]
fn grpc_that_would_need_a_proxy_is_named() {
    let of_environment = proxies("http://127.0.0.1:1");
    let over_grpc = collector("http://collector.invalid:4317", true, &of_environment);
    assert_eq!(over_grpc.proxy(), None);
    let cause = over_grpc.diagnose().expect("no such host");
    assert!(cause.starts_with("cannot connect: ") && cause.ends_with("use no proxy, http/protobuf does"), "{cause}");
}
