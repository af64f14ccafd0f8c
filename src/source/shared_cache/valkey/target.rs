//! Target: the servers of the shared cache, as their URLs name them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use http::uri::Authority;

/// Port of a server whose URL names none.
const PORT: u16 = 6379;
/// Port of a Sentinel whose URL names none.
const SENTINEL_PORT: u16 = 26379;

/// The accepted URLs, for errors.
pub const A_URL: &str = "redis://HOST:PORT, rediss://HOST:PORT, redis+unix:///PATH, redis+sentinel://HOST,HOST/NAME";

/// Address of one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP port of a host: a DNS name or an IP address without brackets.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// The servers of the shared cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How they work together.
    pub servers: Servers,
    /// Whether each connection speaks TLS.
    pub tls: bool,
}

/// How the servers work together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// One server.
    Standalone(Address),
    /// A cluster; some of its nodes.
    Cluster(Vec<Address>),
    /// A primary that Sentinels know.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<Address>,
        /// The name by which they know the primary.
        primary: String,
    },
}

/// Kind of a URL, by its scheme.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Server,
    Unix,
    Sentinel,
}

impl Target {
    /// Reads the URLs. An error does not show them, for one may hold a password.
    ///
    /// # Errors
    /// If one is malformed, or if they cannot be used together.
    pub fn parse(urls: &[&str]) -> Result<Self, String> {
        let parsed = urls.iter().map(|url| parse(url)).collect::<Result<Vec<_>, _>>()?;
        if parsed.len() > 1 && parsed.iter().any(|(scheme, ..)| *scheme != Scheme::Server) {
            return Err("several URLs name nodes of a cluster, each with redis:// or rediss://; keep one URL".into());
        }
        let tls = parsed.first().is_some_and(|(_, tls, _)| *tls);
        if parsed.iter().any(|(_, other, _)| *other != tls) {
            return Err("URLs with redis:// and with rediss:// are mixed; use rediss:// in each".into());
        }
        let mut servers = parsed.into_iter().map(|(_, _, servers)| servers);
        let Some(first) = servers.next() else { return Err(format!("expected {A_URL}, got none; add it")) };
        let mut nodes: Vec<_> = servers.filter_map(Servers::standalone).collect();
        let servers = match first {
            Servers::Standalone(address) if !nodes.is_empty() => {
                nodes.insert(0, address);
                Servers::Cluster(nodes)
            }
            first => first,
        };
        Ok(Self { servers, tls })
    }
}

impl Target {
    /// Returns whether a connection goes to another host without TLS.
    #[must_use]
    pub fn is_plaintext_beyond_loopback(&self) -> bool {
        let addresses = match &self.servers {
            Servers::Standalone(address) => std::slice::from_ref(address),
            Servers::Cluster(addresses) | Servers::Sentinel { sentinels: addresses, .. } => addresses,
        };
        !self.tls && !addresses.iter().all(Address::is_local)
    }
}

impl Servers {
    fn standalone(self) -> Option<Address> {
        match self {
            Self::Standalone(address) => Some(address),
            _ => None,
        }
    }
}

impl Address {
    fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        }
    }

    /// Reads the address in a redirection, `HOST:PORT`.
    pub(super) fn parse_node(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']);
        (!host.is_empty()).then_some(Self::Tcp { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn parse(url: &str) -> Result<(Scheme, bool, Servers), String> {
    let malformed = || format!("expected {A_URL}, got another value, which is not shown; correct it");
    let (scheme, rest) = url.split_once("://").ok_or_else(malformed)?;
    let (kind, tls) = match scheme {
        "redis" => (Scheme::Server, false),
        "rediss" => (Scheme::Server, true),
        "redis+unix" => (Scheme::Unix, false),
        "redis+sentinel" => (Scheme::Sentinel, false),
        "rediss+sentinel" => (Scheme::Sentinel, true),
        _ => return Err(malformed()),
    };
    if rest.contains('@') {
        return Err("a URL with a user or a password would be printed; use username and password_file".into());
    }
    let servers = match kind {
        Scheme::Unix if rest.starts_with('/') => Some(Servers::Standalone(Address::Unix(rest.into()))),
        Scheme::Unix => None,
        Scheme::Server => address(rest.trim_end_matches('/'), PORT).map(Servers::Standalone),
        Scheme::Sentinel => sentinel(rest),
    };
    Ok((kind, tls, servers.ok_or_else(malformed)?))
}

fn sentinel(rest: &str) -> Option<Servers> {
    let (hosts, primary) = rest.split_once('/')?;
    let sentinels = hosts.split(',').map(|host| address(host, SENTINEL_PORT)).collect::<Option<Vec<_>>>()?;
    let is_name =
        !primary.is_empty() && primary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    is_name.then(|| Servers::Sentinel { sentinels, primary: primary.to_owned() })
}

fn address(text: &str, default_port: u16) -> Option<Address> {
    let authority: Authority = text.parse().ok()?;
    let host = authority.host().trim_matches(['[', ']']);
    let port = match text.len() - authority.host().len() {
        0 => default_port,
        _ => authority.port_u16()?,
    };
    (!host.is_empty()).then(|| Address::Tcp { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn urls_name_servers() {
        let standalone = |urls: &[&str]| match Target::parse(urls) {
            Ok(Target { servers: Servers::Standalone(address), tls }) => (address, tls),
            other => panic!("{urls:?}: {other:?}"),
        };
        assert_eq!(standalone(&["redis://127.0.0.1"]), (tcp("127.0.0.1", 6379), false));
        assert_eq!(standalone(&["rediss://cache.example:6380/"]), (tcp("cache.example", 6380), true));
        assert_eq!(standalone(&["redis://[::1]:1"]), (tcp("::1", 1), false));
        assert_eq!(standalone(&["redis+unix:///run/valkey.sock"]), (Address::Unix("/run/valkey.sock".into()), false));
        let cluster = Target::parse(&["rediss://a", "rediss://b:1"]).unwrap();
        assert_eq!(cluster, Target { servers: Servers::Cluster(vec![tcp("a", 6379), tcp("b", 1)]), tls: true });
        let sentinel = Target::parse(&["redis+sentinel://a,b:1/main"]).unwrap();
        let sentinels = vec![tcp("a", 26379), tcp("b", 1)];
        assert_eq!(sentinel.servers, Servers::Sentinel { sentinels, primary: "main".to_owned() });
        assert!(Target::parse(&["rediss+sentinel://a/main"]).unwrap().tls);
    }

    #[test]
    fn malformed_url_is_refused_and_not_shown() {
        for urls in [
            &[][..],
            &["secret"],
            &["http://secret"],
            &["redis://"],
            &["redis://secret:port"],
            &["redis://secret:99999"],
            &["redis://secret/1"],
            &["redis://secret?x=1"],
            &["redis://:secret@host"],
            &["redis+unix://secret"],
            &["redis+sentinel://secret"],
            &["redis+sentinel://secret/"],
            &["redis+sentinel://secret/a b"],
            &["redis+sentinel://,/secret"],
            &["redis://secret", "rediss://b"],
            &["redis://secret", "redis+unix:///b"],
            &["redis+sentinel://a/secret", "redis+sentinel://b/secret"],
        ] {
            let problem = Target::parse(urls).unwrap_err();
            assert!(!problem.contains("secret") && problem.contains("; "), "{urls:?}: {problem}");
        }
    }

    #[test]
    fn plaintext_beyond_loopback_is_noticed() {
        for (url, is_open) in [
            ("redis://127.0.0.1", false),
            ("redis://localhost:1", false),
            ("redis://[::1]", false),
            ("redis+unix:///s", false),
            ("rediss://10.0.0.1", false),
            ("redis://10.0.0.1", true),
            ("redis+sentinel://127.0.0.1,cache.example/m", true),
        ] {
            assert_eq!(Target::parse(&[url]).unwrap().is_plaintext_beyond_loopback(), is_open, "{url}");
        }
    }

    #[test]
    fn redirection_names_a_node() {
        assert_eq!(Address::parse_node("10.0.0.1:6379"), Some(tcp("10.0.0.1", 6379)));
        assert_eq!(Address::parse_node("::1:6379"), Some(tcp("::1", 6379)));
        for text in ["", ":6379", "host", "host:", "host:99999"] {
            assert_eq!(Address::parse_node(text), None, "{text}");
        }
        assert_eq!(tcp("::1", 1).to_string(), "[::1]:1");
    }
}
