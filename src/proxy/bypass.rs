//! `NO_PROXY`: the hosts that are called without a proxy, by the rules of Go's `httpproxy`.
//!
//! An entry is `*`, an address, a network (`10.0.0.0/8`), or a domain: `corp.example` with its subdomains, `.corp.example` and
//! `*.corp.example` without the domain itself. An address or a domain may have a port. Loopback is always called directly.

use std::net::IpAddr;
use std::str::FromStr;

/// The hosts of `NO_PROXY`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bypass(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Everything,
    Network(IpAddr, u32),
    Address(IpAddr, Port),
    /// A domain's name, with or without the domain itself.
    Domain {
        name: String,
        itself: bool,
        port: Port,
    },
}

/// A port; `None`: any.
type Port = Option<u16>;

impl Bypass {
    pub(super) fn contains(&self, host: &str, port: u16) -> bool {
        let host = without_brackets(host).to_ascii_lowercase();
        let address = address(&host);
        let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        is_loopback || self.0.iter().any(|rule| rule.matches(&host, address, port))
    }
}

impl Rule {
    fn matches(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Network(network, length) => address.is_some_and(|address| is_in(address, *network, *length)),
            Self::Address(own, own_port) => address == Some(*own) && own_port.is_none_or(|own| own == port),
            Self::Domain { name, itself, port: own_port } => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|label| label.ends_with('.'));
                (below || *itself && host == name) && own_port.is_none_or(|own| own == port)
            }
        }
    }

    /// Reads an entry in lower case; `None` if it can match nothing.
    fn read(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some((network, length)) = network(entry) {
            return Some(Self::Network(network, length));
        }
        let (host, port) = split_port(entry)?;
        if let Some(address) = address(without_brackets(host)) {
            return Some(Self::Address(address, port));
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let name = host.strip_prefix('.').unwrap_or(host);
        (!name.is_empty()).then(|| Self::Domain { name: name.to_owned(), itself: name == host, port })
    }
}

/// Reads entries that are separated by commas. Entries that can match nothing are left out, as in Go.
impl FromStr for Bypass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(['"', '\'']) {
            return Err("contains quotes; remove them".to_owned());
        }
        let entries: Vec<_> = text.split(',').map(str::trim).collect();
        if entries.iter().any(|entry| entry.contains(char::is_whitespace)) {
            return Err("contains white space in an entry; separate the hosts with commas".to_owned());
        }
        Ok(Self(entries.iter().filter_map(|entry| Rule::read(&entry.to_ascii_lowercase())).collect()))
    }
}

/// Splits `host:port`. Text with more colons is an IPv6 address without a port.
fn split_port(entry: &str) -> Option<(&str, Port)> {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => Some((host, Some(port.parse().ok()?))),
        _ => Some((entry, None)),
    }
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn address(host: &str) -> Option<IpAddr> {
    host.parse().ok().map(|address: IpAddr| address.to_canonical())
}

fn network(entry: &str) -> Option<(IpAddr, u32)> {
    let (network, length) = entry.split_once('/')?;
    let (network, length) = (network.parse().ok()?, length.parse().ok()?);
    let longest = if matches!(network, IpAddr::V4(_)) { 32 } else { 128 };
    (length <= longest).then_some((network, length))
}

fn is_in(address: IpAddr, network: IpAddr, length: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differing = u32::from(address) ^ u32::from(network);
            differing.leading_zeros() >= length
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differing = u128::from(address) ^ u128::from(network);
            differing.leading_zeros() >= length
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(list: &str, host: &str, port: u16) -> bool {
        list.parse::<Bypass>().unwrap().contains(host, port)
    }

    #[test]
    fn hosts_match_no_proxy_as_in_go() {
        for (list, host, expected) in [
            ("", "ecr.example", false),
            ("*", "ecr.example", true),
            ("other.example, *", "10.0.0.1", true),
            // A domain and its subdomains.
            ("corp.example", "corp.example", true),
            ("corp.example", "ecr.corp.example", true),
            ("corp.example", "ECR.Corp.Example", true),
            ("CORP.example", "ecr.corp.example", true),
            ("corp.example", "notcorp.example", false),
            ("corp.example", "corp.example.org", false),
            // Subdomains only.
            (".corp.example", "ecr.corp.example", true),
            (".corp.example", "corp.example", false),
            ("*.corp.example", "ecr.corp.example", true),
            ("*.corp.example", "a.b.corp.example", true),
            ("*.corp.example", "corp.example", false),
            ("*corp.example", "ecr.corp.example", false),
            // Ports; the request is to 443.
            ("corp.example:443", "ecr.corp.example", true),
            ("corp.example:8443", "ecr.corp.example", false),
            ("*.corp.example:443", "ecr.corp.example", true),
            ("corp.example:https", "corp.example", false),
            (":443", "corp.example", false),
            // Addresses and networks.
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1:443", "10.0.0.1", true),
            ("10.0.0.1:80", "10.0.0.1", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("0.0.0.0/0", "[fd00::1]", false),
            ("10.0.0.0/33", "10.0.0.1", false),
            ("10.0.0.0/8", "10.example", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("fd00::1", "[fd00::1]", true),
            ("[fd00::1]:443", "[fd00::1]", true),
            ("[fd00::1]:80", "[fd00::1]", false),
            ("fd00::/8", "[fd12::1]", true),
            ("fd00::/8", "[fe80::1]", false),
            // Loopback never has a proxy.
            ("", "localhost", true),
            ("", "127.0.0.2", true),
            ("", "[::1]", true),
            ("", "localhost.example", false),
            // Lists.
            ("a.example,b.example", "b.example", true),
            (" a.example ,  b.example ", "b.example", true),
            (",,a.example,", "a.example", true),
        ] {
            assert_eq!(direct(list, host, 443), expected, "NO_PROXY={list:?} {host}");
        }
    }

    #[test]
    fn quotes_and_lists_without_commas_are_refused() {
        for list in ["\"a.example\"", "'a,b'", "a.example b.example"] {
            assert!(list.parse::<Bypass>().is_err(), "{list}");
        }
    }
}
