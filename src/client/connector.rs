//! Connector: resolves a host and races its addresses (RFC 8305), or opens a Unix socket.
//!
//! hyper's connector tries the addresses of one family in turn, so that a dead one takes the time of the next.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use super::address::Address;
use super::unix_socket::connect_to_broker;

/// Head start of an address over the next one of the same host.
const STAGGER: Duration = Duration::from_millis(250);

/// Opens a channel. It takes as long as name resolution, TCP and TLS take: the caller sets the time limit.
pub(super) async fn open(endpoint: &Endpoint, address: Address) -> Result<Channel, Error> {
    match address {
        Address::Unix(path) => {
            endpoint.connect_with_connector(service_fn(move |_| connect_to_broker(path.clone()))).await
        }
        Address::Plain(authority) | Address::Tls(authority) => {
            endpoint.connect_with_connector(service_fn(move |_| host(authority.clone()))).await
        }
    }
}

async fn host(authority: String) -> io::Result<TokioIo<TcpStream>> {
    race(resolve(&authority).await?, dial).await.map(TokioIo::new)
}

/// Returns the addresses of a host. The lookup runs on a thread that may outlast this future.
pub(super) async fn resolve(authority: &str) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = lookup_host(authority).await?.collect();
    if addresses.is_empty() { Err(io::Error::other("the name has no addresses")) } else { Ok(addresses) }
}

/// Opens a TCP connection. The kernel repeats a lost SYN after 1 s; a second connection would take a place of the broker's limit.
pub(super) async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns the first stream. Each address starts after a head start of the one before, or as soon as an attempt fails.
pub(super) async fn race<S, F>(addresses: Vec<SocketAddr>, dial: impl Fn(SocketAddr) -> F) -> io::Result<S>
where
    S: Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let (mut waiting, mut attempts) = (interleave(addresses).into_iter(), JoinSet::new());
    let mut outcome = Err(io::Error::other("no address to connect to"));
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(dial(address));
        }
        let pause = if waiting.len() == 0 { Duration::MAX } else { STAGGER };
        match timeout(pause, attempts.join_next()).await {
            Ok(Some(attempt)) => outcome = attempt.map_err(io::Error::other).flatten(),
            Ok(None) => return outcome,
            Err(_) => {}
        }
        if outcome.is_ok() {
            return outcome;
        }
    }
}

/// Alternates between IPv4 and IPv6, so that a host whose one family is dead costs one head start.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let mut all = Vec::with_capacity(addresses.len());
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv4() == first_is_ipv4);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    while one.len() + other.len() > 0 {
        all.extend(one.next());
        all.extend(other.next());
    }
    all
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use tokio::time::{Instant, sleep};

    use super::*;

    type Attempt = Pin<Box<dyn Future<Output = io::Result<SocketAddr>> + Send>>;

    fn v4(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 1).into()
    }

    fn v6(last: u16) -> SocketAddr {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 1).into()
    }

    /// Connects the last address after 10 ms. Others hang.
    fn last_answers(last: SocketAddr) -> impl Fn(SocketAddr) -> Attempt {
        move |address| {
            Box::pin(async move {
                if address != last {
                    std::future::pending::<()>().await;
                }
                sleep(Duration::from_millis(10)).await;
                Ok(address)
            })
        }
    }

    #[test]
    fn addresses_alternate_between_the_families() {
        assert_eq!(interleave(vec![v6(1), v6(2), v6(3), v4(1)]), [v6(1), v4(1), v6(2), v6(3)]);
        assert_eq!(interleave(vec![v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
        assert_eq!(interleave(Vec::new()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn dead_first_address_costs_a_quarter_of_a_second() {
        let start = Instant::now();
        let connected = race(vec![v4(1), v4(2)], last_answers(v4(2))).await.unwrap();
        assert_eq!((connected, start.elapsed().as_millis()), (v4(2), 260));
    }

    #[tokio::test(start_paused = true)]
    async fn failed_attempt_starts_the_next_at_once_and_the_last_error_is_kept() {
        let refuse_first = |address: SocketAddr| async move {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            if address == v4(1) { Err(refused()) } else { Ok(address) }
        };
        let start = Instant::now();
        assert_eq!(race(vec![v4(1), v4(2)], refuse_first).await.unwrap(), v4(2));
        let failed = race(vec![v4(1), v4(1)], refuse_first).await.unwrap_err();
        assert_eq!((failed.kind(), start.elapsed()), (io::ErrorKind::ConnectionRefused, Duration::ZERO));
        assert!(race(Vec::new(), refuse_first).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_address_wins_if_the_others_are_dead() {
        let slow_first = |address: SocketAddr| async move {
            sleep(Duration::from_millis(if address == v4(1) { 1_200 } else { 60_000 })).await;
            Ok(address)
        };
        assert_eq!(race(vec![v4(1), v6(1), v4(2)], slow_first).await.unwrap(), v4(1));
    }
}
