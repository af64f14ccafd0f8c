//! Connections: several requests, slow peers, limits and shutdown.

use super::*;

#[tokio::test]
async fn connection_serves_several_requests_in_turn() {
    let (broker, at) = broker();
    let mut stream = TcpStream::connect(at).await.unwrap();
    for _ in 0..3 {
        stream.write_all(&Call::private().bytes()).await.unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(b"}]}") {
            assert_ne!(stream.read_buf(&mut reply).await.unwrap(), 0, "the connection was closed");
        }
        Reply::parse(&reply).data();
    }
    assert_eq!(broker.source.calls(), 1);
}

#[tokio::test]
async fn p8_slow_aws_api_peers_are_disconnected() {
    let (broker, at) = broker();
    let silent = async { rest(&mut TcpStream::connect(at).await.unwrap()).await };
    let partial_head = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\nx-").await.unwrap();
        rest(&mut stream).await
    };
    let idle = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&Call::private().bytes()).await.unwrap();
        rest(&mut stream).await
    };
    let partial_body = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let bytes = Call::private().body("{}").bytes();
        stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
        rest(&mut stream).await
    };
    let reads_nothing = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(at).await.unwrap();
        let bytes = Call::of(&["123456789012"; 10]).bytes();
        while stream.write_all(&bytes).await.is_ok() {}
    };
    let all = async { tokio::join!(silent, partial_head, idle, partial_body, reads_nothing) };
    let (silent, head, idle, body, ()) = timeout(2 * LIMIT, all).await.expect("each is disconnected");
    assert!(silent.is_empty() && (head.is_empty() || Reply::parse(&head).status == 408), "{silent:?} {head:?}");
    Reply::parse(&idle).data();
    assert_eq!(Reply::parse(&body).error(), (408, "RequestTimeoutException"));
    Call::private().send(at).await.data();
    drop(broker);
}

#[tokio::test]
async fn p8_aws_api_connections_per_address_are_limited() {
    let broker = TestBroker::start_with(|setup| setup.config.server.connections.max_connections_per_address = 2);
    let at = broker.aws_api;
    let open = [TcpStream::connect(at).await.unwrap(), TcpStream::connect(at).await.unwrap()];
    let mut third = TcpStream::connect(at).await.unwrap();
    assert!(rest(&mut third).await.is_empty());
    drop(open);
}

#[tokio::test]
async fn p9_aws_api_request_in_flight_finishes_or_fails_at_shutdown() {
    for (limit, expected) in [(20, 200), (1, 500)] {
        let broker =
            TestBroker::start_with(|setup| setup.config.server.connections.drain_timeout = Duration::from_secs(limit));
        let (at, source) = (broker.aws_api, Arc::clone(&broker.source));
        source.shut();
        let call = tokio::spawn(Call::private().send(at));
        source.until_calls(1).await;
        let ended = tokio::spawn(broker.stop());
        // The listener closes when the drain begins.
        while TcpStream::connect(at).await.is_ok() {
            tokio::task::yield_now().await;
        }
        if expected == 200 {
            source.open();
        }
        let reply = call.await.unwrap();
        assert_eq!(reply.status, expected, "{reply:?}");
        source.open();
        ended.await.unwrap();
    }
}

#[tokio::test]
async fn p9_drain_closes_idle_connections_at_once_and_busy_ones_after() {
    let (broker, at) = broker();
    let mut silent = TcpStream::connect(at).await.unwrap();
    let mut idle = TcpStream::connect(at).await.unwrap();
    idle.write_all(&Call::private().bytes()).await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"}]}") {
        assert_ne!(idle.read_buf(&mut reply).await.unwrap(), 0, "the connection was closed");
    }
    let source = Arc::clone(&broker.source);
    source.shut();
    let mut busy = TcpStream::connect(at).await.unwrap();
    busy.write_all(&Call::of(&["123456789012"]).bytes()).await.unwrap();
    source.until_calls(2).await;
    let ended = broker.stop();
    // Sooner than either would be closed by its idle timeout.
    let at_once = async { tokio::join!(rest(&mut silent), rest(&mut idle)) };
    let (silent, idle) = timeout(Duration::from_secs(3), at_once).await.expect("both are closed at once");
    assert!(silent.is_empty() && idle.is_empty(), "{silent:?} {idle:?}");
    source.open();
    let reply = timeout(Duration::from_secs(3), rest(&mut busy)).await.expect("it is closed after its response");
    Reply::parse(&reply).data();
    ended.await;
}
