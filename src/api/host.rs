//! The host that an HTTP request names. It must be one of the broker's.
//!
//! Otherwise a website could have a browser call the broker, under a name of the website that resolves to the broker.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::HOST;
use http::uri::Authority;
use http::{Request, Version};

use crate::caller::DnsName;

/// Returns whether a request names a host of the broker, with any port: a forwarded port may differ.
///
/// Every browser sends `Host`. A health check in HTTP/1.0 may send none.
pub(crate) fn is_accepted<B>(request: &Request<B>, names: &[DnsName]) -> bool {
    let mut headers = request.headers().get_all(HOST).iter();
    let by_header = match (headers.next(), headers.next()) {
        (None, _) => request.version() <= Version::HTTP_10,
        (Some(header), None) => {
            header.to_str().ok().and_then(|text| text.parse().ok()).is_some_and(|host| is_own(&host, names))
        }
        (Some(_), Some(_)) => false,
    };
    by_header && request.uri().authority().is_none_or(|host| is_own(host, names))
}

fn is_own(authority: &Authority, names: &[DnsName]) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let is_ipv6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return is_ipv6(address);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_name = |own: &str| own.eq_ignore_ascii_case(name);
    host.parse::<Ipv4Addr>().is_ok() || is_name("localhost") || names.iter().any(|own| is_name(&own.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, target: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn host_must_be_an_address_localhost_or_a_configured_name() {
        let names = ["broker.corp.example".parse().unwrap()];
        for (host, accepted) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9464", true),
            ("10.1.2.3:80", true),
            ("[::1]:9464", true),
            ("[2001:db8::1]", true),
            ("localhost:9464", true),
            ("LocalHost", true),
            ("localhost.", true),
            ("broker.corp.example:9464", true),
            ("BROKER.corp.example.", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.1", false),
            ("2130706433", false),
            ("::1", false),
            ("[localhost]", false),
            ("localhost@evil.example", false),
            ("evil@localhost", false),
            ("", false),
            ("localhost localhost", false),
        ] {
            let got = is_accepted(&request(Version::HTTP_11, "/livez", &[host]), &names);
            assert_eq!(got, accepted, "{host:?}");
        }
    }

    #[test]
    fn every_host_of_a_request_must_be_accepted() {
        for (version, target, hosts, accepted) in [
            (Version::HTTP_11, "/livez", &[][..], false),
            (Version::HTTP_10, "/livez", &[], true),
            (Version::HTTP_10, "/livez", &["evil.example"], false),
            (Version::HTTP_11, "/livez", &["localhost", "localhost"], false),
            (Version::HTTP_11, "http://localhost/livez", &["localhost"], true),
            (Version::HTTP_11, "http://evil.example/livez", &["localhost"], false),
            (Version::HTTP_11, "http://localhost/livez", &["evil.example"], false),
        ] {
            let request = request(version, target, hosts);
            assert_eq!(is_accepted(&request, &[]), accepted, "{request:?}");
        }
    }
}
