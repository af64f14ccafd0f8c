//! Loop guard: rejects an AWS endpoint, or an address of a parent, that leads to the broker itself. The broker would call itself and wait for its own answer.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::bail;

use super::endpoint::Endpoint;
use crate::address::ListenAddress;

/// Checks that none of the configured endpoints leads to an endpoint of the broker; `what` names them in the error.
///
/// # Errors
/// Fails with the endpoint's host and port, without its path: the path can hold the secret of the ECR API.
pub(crate) async fn refuse_loop(what: &str, endpoints: &[String], own: &[Endpoint]) -> anyhow::Result<()> {
    for endpoint in endpoints {
        let socket = endpoint.strip_prefix("unix:").map(Path::new);
        if let Some(own) =
            own.iter().find(|own| matches!(own.address(), ListenAddress::Unix(path) if Some(&**path) == socket))
        {
            bail!("the {what} {endpoint} is the broker's own socket; {}", own.protocol.loop_fix());
        }
        let Some((host, port)) = host_and_port(endpoint) else { continue };
        // A name that does not resolve cannot lead to the broker at present.
        let Ok(addresses) = tokio::net::lookup_host((host.as_str(), port)).await else { continue };
        for address in addresses {
            if let Some(own) = own.iter().find(|own| accepts(own.address(), address)) {
                bail!("the {what} {host}:{port} leads to the broker's own {}; {}", own.url(), own.protocol.loop_fix());
            }
        }
    }
    Ok(())
}

fn host_and_port(endpoint: &str) -> Option<(String, u16)> {
    let uri: http::Uri = endpoint.parse().ok()?;
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some((host, uri.port_u16().unwrap_or(default)))
}

/// Returns whether a connection to `target` arrives at the listener.
fn accepts(listener: &ListenAddress, target: SocketAddr) -> bool {
    let ListenAddress::Tcp(own) = listener else { return false };
    own.port() == target.port() && reaches(target.ip().to_canonical(), own.ip().to_canonical())
}

/// Returns whether a connection to `target` arrives at `own`. A connection to an unspecified address arrives at loopback. A listener
/// on all addresses accepts any address of this host; only loopback is checked for it.
fn reaches(target: IpAddr, own: IpAddr) -> bool {
    let is_local = |ip: IpAddr| ip.is_unspecified() || ip.is_loopback();
    target == own || (target.is_unspecified() && is_local(own)) || (own.is_unspecified() && is_local(target))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::endpoint::Drain;
    use super::super::listener::Listener;
    use super::super::socket_activation::ActivatedSockets;
    use super::super::test_protocol::Echo;
    use super::*;

    #[tokio::test]
    async fn loop_is_refused_with_a_fix_and_without_the_path() {
        let any_port = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Listener::bind(&any_port, &mut ActivatedSockets::default()).unwrap();
        let own = [Endpoint { listener, protocol: Arc::new(Echo { stubborn: false }), drain: Drain::First }];
        let &ListenAddress::Tcp(address) = own[0].address() else { panic!("a TCP address") };
        let port = address.port();
        let refused =
            refuse_loop("AWS endpoint", &[format!("http://localhost:{port}/t/secret")], &own).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("the AWS endpoint localhost:{port} leads to the broker's own echo://127.0.0.1:{port}; do not")
        );
        let elsewhere = ["http://127.0.0.1:1".to_owned(), "https://127.0.0.1".to_owned(), "not a url".to_owned()];
        refuse_loop("AWS endpoint", &elsewhere, &own).await.unwrap();
    }

    #[test]
    fn every_spelling_of_a_listener_is_recognised() {
        let listeners = ["127.0.0.1:4000", "0.0.0.0:5000", "unix:/x"].map(|text| text.parse().expect("an address"));
        for (target, expected) in [
            ("127.0.0.1:4000", true),
            ("[::ffff:127.0.0.1]:4000", true),
            ("127.0.0.1:5000", true),
            ("0.0.0.0:4000", true),
            ("[::]:4000", true),
            ("127.0.0.1:4001", false),
            ("192.0.2.1:4000", false),
        ] {
            let target = target.parse().expect("an address");
            let accepted = listeners.iter().any(|listener| accepts(listener, target));
            assert_eq!(accepted, expected, "{target}");
        }
    }

    #[test]
    fn host_and_port_are_read_from_an_endpoint() {
        for (endpoint, expected) in [
            ("http://localhost:4000/path", Some(("localhost", 4000))),
            ("http://[::1]:4000", Some(("::1", 4000))),
            ("http://a", Some(("a", 80))),
            ("https://127.0.0.1", Some(("127.0.0.1", 443))),
            ("not a url", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(host_and_port(endpoint), expected, "{endpoint}");
        }
    }
}
