//! An HTTP/1.1 connection, within limits of time and memory.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::write_timeout::WriteTimeout;
use crate::server::lifetime::Lifetime;

/// Time for the head of a request to arrive, and for a next request to begin.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves requests, one after another, until the peer or the lifetime ends the connection.
///
/// `buffer` is the memory for what the peer sends, which also limits the head of a request. `what` names the connection in the log.
pub(super) async fn serve<F: Future<Output = Response<Full<Bytes>>>>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    buffer: usize,
    respond: impl Fn(Request<Incoming>) -> F,
    lifetime: &Lifetime,
    what: &'static str,
) {
    let service = service_fn(|request| {
        let response = respond(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(buffer);
    let connection = pin!(builder.serve_connection(TokioIo::new(WriteTimeout::new(io)), service));
    if let Err(error) = lifetime.run(connection, Connection::graceful_shutdown).await {
        debug!(%error, what, "HTTP/1.1 connection failed");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::server::shutdown::ShutdownStages;
    use crate::sync::lock;

    const LENGTH: usize = 1_000;

    /// The text of an answer.
    struct Text(Vec<u8>, #[expect(dead_code, reason = "it is counted")] Arc<()>);

    impl AsRef<[u8]> for Text {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    #[tokio::test]
    async fn text_of_an_answer_is_kept_until_it_is_written() {
        let (near, mut far) = duplex(64);
        let sent = Arc::new(());
        let text = Mutex::new(Some(Bytes::from_owner(Text(vec![b'x'; LENGTH], Arc::clone(&sent)))));
        let lifetime = Lifetime::new(Duration::from_hours(1), ShutdownStages::default(), None);
        let respond = |_| std::future::ready(Response::new(Full::new(lock(&text).take().unwrap())));
        let mut serving = pin!(serve(near, 16 * 1024, respond, &lifetime, "test"));
        far.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut read = Vec::new();
        let mut length = usize::MAX;
        while read.len() < length {
            tokio::select! {
                () = &mut serving => panic!("the peer has not closed"),
                count = far.read_buf(&mut read) => assert_ne!(count.unwrap(), 0),
            }
            let head = read.windows(4).position(|end| end == b"\r\n\r\n");
            length = head.map_or(usize::MAX, |head| head + 4 + LENGTH);
            let is_left = read.len() + 64 < length;
            assert!(!is_left || Arc::strong_count(&sent) == 2, "{} of {length}", read.len());
        }
        assert_eq!(Arc::strong_count(&sent), 1);
    }
}
