//! Handshakes that fail, stall or resume.

use std::sync::Arc;
use std::time::Duration;

use ecr_broker::authn::tls::{Application, Tls};
use ecr_broker::metrics::Format;
use ecr_broker::pb;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::certificates::{BROKER, RUNNER};
use super::federation::{Federation, client_config, connect, handshake, whoami};
use super::served::Served;
use super::support::*;

#[tokio::test]
async fn failed_handshakes_block_their_origin_for_a_while() {
    let federation = Federation::new();
    let broker = federation.broker();
    let limit = 10 * limits_settings().failures_per_second.get();
    // Plaintext gets an answer in plaintext, and a blocked origin gets nothing.
    let answer = async || {
        let mut stream = tokio::net::TcpStream::connect(broker.tcp).await.unwrap();
        // The broker may have closed the connection.
        _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer).await;
        answer
    };
    for number in 0..limit {
        assert!(!answer().await.is_empty(), "{number}");
    }
    assert!(answer().await.is_empty());
    assert!(broker.unix_client().await.get_caller_identity(pb::GetCallerIdentityRequest {}).await.is_ok());
    broker.clock.advance(Duration::from_secs(1));
    let runner = connect(&broker, &federation.a, Some(&federation.a.workload(RUNNER))).await;
    assert!(whoami(&runner).await.is_ok());
    broker.stop().await;
}

#[tokio::test]
async fn rejected_certificate_counts_as_a_denial() {
    let federation = Federation::new();
    let broker = federation.broker();
    let denials = || {
        let metrics = broker.exposition.encode(Format::Prometheus);
        let count =
            metrics.lines().find_map(|line| line.strip_prefix("ecr_broker_denials_total{reason=\"certificate\"} "));
        count.unwrap().to_owned()
    };
    assert_eq!(denials(), "0");
    let stranger = connect(&broker, &federation.a, Some(&federation.impostor.workload(RUNNER))).await;
    whoami(&stranger).await.unwrap_err();
    while denials() == "0" {
        tokio::task::yield_now().await;
    }
    broker.stop().await;
}

/// Half of the peers are silent, half stop in the middle of a record.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_handshakes_time_out_and_block_no_other_client() {
    let federation = Federation::new();
    let broker = federation.broker();
    let began = tokio::time::Instant::now();
    let silent = (0..200).map(|number| async move {
        let mut stream = tokio::net::TcpStream::connect(broker.tcp).await.unwrap();
        // The header of a record that claims 512 bytes.
        if number % 2 == 0 {
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        }
        _ = stream.read_to_end(&mut Vec::new()).await;
        began.elapsed()
    });
    let silent = tokio::spawn(futures_util::future::join_all(silent.collect::<Vec<_>>()));
    let mut calls = 0;
    while !silent.is_finished() {
        let runner = connect(&broker, &federation.a, Some(&federation.a.workload(RUNNER))).await;
        whoami(&runner).await.unwrap();
        calls += 1;
    }
    let last = silent.await.unwrap().into_iter().max().unwrap();
    println!("200 stalled handshakes: the last one ended after {last:.1?}; {calls} calls succeeded meanwhile");
    assert!(last < Duration::from_secs(10) && calls > 1, "{last:?}, {calls}");
    broker.stop().await;
}

#[test]
fn plaintext_on_a_tls_port_is_answered_and_named_in_the_log() {
    use std::io::{Read as _, Write as _};
    let broker = Served::new().serve();
    let answer_to = |request: &[u8]| {
        let address = broker.address.strip_prefix("grpcs://").unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        // A reset is accepted as an end, too.
        _ = stream.read_to_end(&mut answer);
        answer
    };
    let http1 = String::from_utf8(answer_to(b"GET / HTTP/1.1\r\nhost: broker\r\n\r\n")).unwrap();
    assert!(http1.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{http1}");
    assert!(http1.ends_with("\r\n\r\nThis port speaks TLS, not plaintext. Use an https:// address.\n"), "{http1}");
    // A gRPC client recognizes TLS by the alert.
    assert_eq!(answer_to(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").first(), Some(&0x15));
    let log = broker.stop();
    for problem in ["HTTP/1.1 without TLS on a port with TLS", "HTTP/2 without TLS on a port with TLS"] {
        assert!(log.contains(&format!("\"problem\":\"{problem}\"")), "{problem}: {log}");
    }
}

#[tokio::test]
async fn sessions_are_not_resumed_and_tls_1_2_is_rejected() {
    let federation = Federation::new();
    let tls = Arc::new(Tls::load(federation.settings.clone(), ManualClock::new()).unwrap());
    let runner = federation.a.workload(RUNNER);
    // The client keeps sessions to resume.
    let config = Arc::new(client_config(&federation, &[&rustls::version::TLS13], &runner));
    for _ in 0..2 {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(BROKER).unwrap();
        let client = tokio_rustls::TlsConnector::from(Arc::clone(&config)).connect(name, there);
        let (accepted, client) = tokio::join!(tls.accept(here, Application::Http2), client);
        let (mut server, _) = accepted.unwrap();
        assert_eq!(server.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
        // Session tickets would arrive before the first byte.
        server.write_all(b"x").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(client.unwrap().read_u8().await.unwrap(), b'x');
    }
    let old = client_config(&federation, &[&rustls::version::TLS12], &runner);
    let problem = handshake(&tls, Arc::new(old)).await.unwrap_err();
    assert!(problem.contains("Tls12NotOffered") || problem.contains("SupportedVersionsExtensionRequired"), "{problem}");
}
