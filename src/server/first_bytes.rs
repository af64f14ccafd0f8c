//! The protocol of a peer by its first bytes, and the answer to an HTTP/1.1 request on a port that needs another protocol.
//!
//! curl, browsers and health checks speak HTTP/1.1. Without an answer their users see a reset, and suspect the network.

use std::future::poll_fn;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::lingering_close::{LINGER, LingeringClose};

/// The preface of HTTP/2.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Type and major version of a TLS record with a handshake message.
const TLS_HANDSHAKE: [u8; 2] = [0x16, 3];
/// Longest method of an HTTP/1.1 request that is recognized.
const MAX_METHOD: usize = 8;

/// Answer on a port of the gRPC API. Its status is that of a wrong request: a retry cannot help.
pub(super) const NEEDS_HTTP2: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 102\r\n\
connection: close\r\n\r\nThis port speaks gRPC over HTTP/2, not HTTP/1.1. Use a gRPC client such as grpcurl or ecr-broker get.\n";
/// Answer to a request without TLS on a port with TLS.
pub(super) const NEEDS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 62\r\n\
connection: close\r\n\r\nThis port speaks TLS, not plaintext. Use an https:// address.\n";

/// Answer to TLS on a port without TLS. A TLS library takes it for a record of a wrong version, by which a client recognizes plaintext.
pub(super) const NEEDS_PLAINTEXT: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 94\r\n\
connection: close\r\n\r\nThis port speaks plaintext, not TLS. Use an http:// address, or set server.tls on the broker.\n";

/// The protocol of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// HTTP/2 without TLS.
    Http2,
    /// HTTP/1.1 or HTTP/1.0 without TLS.
    Http1,
    /// TLS.
    Tls,
    /// Anything else.
    Unknown,
}

impl Spoken {
    /// Recognizes a protocol by the first bytes; one is enough to tell the others from HTTP/1.1, which begins with a method.
    pub(super) fn of(first: &[u8]) -> Self {
        let method = first.split(|byte| *byte == b' ').next().unwrap_or_default();
        let compared = first.len().min(PREFACE.len());
        if first.is_empty() {
            Self::Unknown
        } else if first[..compared] == PREFACE[..compared] {
            Self::Http2
        } else if TLS_HANDSHAKE.starts_with(&first[..first.len().min(TLS_HANDSHAKE.len())]) {
            Self::Tls
        } else if (1..=MAX_METHOD).contains(&method.len()) && method.iter().all(u8::is_ascii_uppercase) {
            Self::Http1
        } else {
            Self::Unknown
        }
    }
}

/// Sends an answer, and waits until the peer has closed the connection: closing it with unread bytes would reset it, and the peer might
/// lose the answer.
pub(super) async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) {
    let lingering = async {
        stream.write_all(answer).await?;
        let mut closing = LingeringClose::default();
        poll_fn(|context| closing.poll(&mut stream, context)).await
    };
    // The peer may be gone.
    _ = timeout(LINGER, lingering).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::time::Instant;

    use super::super::lingering_close::MAX_DISCARDED;
    use super::*;

    #[test]
    fn protocol_is_recognized_by_the_first_bytes() {
        for (first, expected) in [
            (&PREFACE[..], Spoken::Http2),
            (&PREFACE[..5], Spoken::Http2),
            (b"GET / HTTP/1.1\r\nhost: b\r\n", Spoken::Http1),
            (b"POST /x", Spoken::Http1),
            (b"G", Spoken::Http1),
            (b"\x16\x03\x01\x02\x00\x01", Spoken::Tls),
            (b"\x16", Spoken::Tls),
            (b"\x16\x01", Spoken::Unknown),
            (b"get / HTTP/1.1", Spoken::Unknown),
            (b"ABCDEFGHI ", Spoken::Unknown),
            (b" GET", Spoken::Unknown),
            (b"", Spoken::Unknown),
        ] {
            assert_eq!(Spoken::of(first), expected, "{first:?}");
        }
    }

    #[test]
    fn answers_name_the_length_of_their_body() {
        for answer in [NEEDS_HTTP2, NEEDS_TLS, NEEDS_PLAINTEXT] {
            let (head, body) = std::str::from_utf8(answer).unwrap().split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{}: {answer:?}", body.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_stays_after_the_answer_is_dropped_after_a_second() {
        let (stream, mut peer) = tokio::io::duplex(1024);
        let start = Instant::now();
        let refused = tokio::spawn(async move {
            refuse(stream, NEEDS_HTTP2).await;
            start.elapsed()
        });
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, NEEDS_HTTP2);
        assert_eq!(refused.await.unwrap(), LINGER);
    }

    #[tokio::test(start_paused = true)]
    async fn endless_request_is_dropped_before_it_is_read() {
        let (stream, peer) = tokio::io::duplex(MAX_DISCARDED * 4);
        let (_answer, mut writer) = tokio::io::split(peer);
        writer.write_all(&vec![b'x'; MAX_DISCARDED * 2]).await.unwrap();
        let start = Instant::now();
        refuse(stream, NEEDS_HTTP2).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
