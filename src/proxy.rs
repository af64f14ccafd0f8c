//! The HTTP proxies of the environment, with the rules of Go's `net/http`, which docker and kubelet follow.
//!
//! No kept library has these rules: hyper-util ignores a proxy that it cannot parse, and does not know `*.domain` and `host:port` in
//! `NO_PROXY`. A proxy that is silently ignored looks like an outage of AWS.

use std::ffi::{OsStr, OsString};
use std::str::FromStr;

use http::Uri;

use self::bypass::Bypass;
pub use self::proxy_url::ProxyUrl;
#[cfg(feature = "client")]
use crate::environment;
use crate::environment::NOT_UTF8;

mod bypass;
mod proxy_url;

/// The variables of each kind, in the order of their precedence. Go does not know `ALL_PROXY`; curl and Rust's libraries do.
const HTTP: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
const HTTPS: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The proxies, and the hosts that are called without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<ProxyUrl>,
    https: Option<ProxyUrl>,
    bypass: Bypass,
}

/// A variable that cannot be used. Its value is not shown: a proxy's URL may contain a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyError {
    /// Name of the variable.
    pub variable: &'static str,
    /// Why it cannot be used, and what is valid.
    pub problem: String,
}

impl Proxies {
    /// Reads the variables, and returns each problem. `get` returns a variable that is set and not blank.
    pub fn read(get: impl Fn(&str) -> Option<OsString>) -> (Self, Vec<ProxyError>) {
        let mut errors = Vec::new();
        let first = |names: &[&'static str]| names.iter().find_map(|name| Some((*name, get(name)?)));
        let mut proxy = |names| {
            let (variable, value) = first(names)?;
            parse(&value).map_err(|problem| errors.push(ProxyError { variable, problem })).ok()
        };
        let (http, https) = (proxy(&HTTP), proxy(&HTTPS));
        let bypass = first(&NO_PROXY).and_then(|(variable, value)| {
            parse(&value).map_err(|problem| errors.push(ProxyError { variable, problem })).ok()
        });
        // ALL_PROXY serves both.
        errors.dedup();
        (Self { http, https, bypass: bypass.unwrap_or_default() }, errors)
    }

    /// Reads the process's variables.
    #[cfg(feature = "client")]
    #[must_use]
    pub fn from_environment() -> (Self, Vec<ProxyError>) {
        Self::read(environment::variable)
    }

    /// Returns the proxy for a URL; `None`: connect directly.
    #[must_use]
    pub fn for_url(&self, url: &Uri) -> Option<&ProxyUrl> {
        let (proxy, default_port) = match url.scheme_str()? {
            "http" => (self.http.as_ref(), 80),
            "https" => (self.https.as_ref(), 443),
            _ => return None,
        };
        let port = url.port_u16().unwrap_or(default_port);
        proxy.filter(|_| url.host().is_some_and(|host| !self.bypass.contains(host, port)))
    }

    /// Returns the proxies for a client of reqwest, which then does not read the environment.
    #[must_use]
    pub fn for_reqwest(&self) -> reqwest::Proxy {
        let proxies = self.clone();
        reqwest::Proxy::custom(move |url| {
            let proxy = proxies.for_url(&url.as_str().parse().ok()?)?;
            reqwest::Url::parse(proxy.as_str()).ok()
        })
    }

    /// Returns the proxy for `http` URLs.
    #[must_use]
    pub fn http(&self) -> Option<&ProxyUrl> {
        self.http.as_ref()
    }

    /// Returns the proxy for `https` URLs.
    #[must_use]
    pub fn https(&self) -> Option<&ProxyUrl> {
        self.https.as_ref()
    }
}

fn parse<T: FromStr<Err = String>>(value: &OsStr) -> Result<T, String> {
    value.to_str().ok_or_else(|| NOT_UTF8.to_owned())?.parse()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Proxies, Vec<ProxyError>) {
        Proxies::read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into()))
    }

    fn proxy_for(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let (proxies, errors) = read(variables);
        assert!(errors.is_empty(), "{errors:?}");
        proxies.for_url(&url.parse().unwrap()).map(|proxy| proxy.as_str().to_owned())
    }

    #[test]
    fn proxy_follows_the_scheme_and_the_first_variable_that_is_set() {
        let (plain, tls) = ("http://ecr.example/", "https://ecr.example/");
        for (variables, http, https) in [
            (&[("HTTPS_PROXY", "http://a:1")][..], None, Some("http://a:1/")),
            (&[("https_proxy", "http://a:1")], None, Some("http://a:1/")),
            (&[("HTTP_PROXY", "http://a:1")], Some("http://a:1/"), None),
            (&[("ALL_PROXY", "http://a:1")], Some("http://a:1/"), Some("http://a:1/")),
            (&[("all_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:2")], Some("http://a:1/"), Some("http://b:2/")),
            (&[("https_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:2")], None, Some("http://b:2/")),
            (
                &[("ALL_PROXY", "socks5://a"), ("HTTP_PROXY", "b"), ("HTTPS_PROXY", "b:2")],
                Some("http://b/"),
                Some("http://b:2/"),
            ),
        ] {
            let expected = (http.map(str::to_owned), https.map(str::to_owned));
            assert_eq!((proxy_for(variables, plain), proxy_for(variables, tls)), expected, "{variables:?}");
        }
    }

    #[test]
    fn each_variable_that_cannot_be_used_is_reported_once() {
        let (_, errors) = read(&[("ALL_PROXY", "socks5://127.0.0.1:1080"), ("NO_PROXY", "\"a,b\"")]);
        let variables: Vec<_> = errors.iter().map(|error| error.variable).collect();
        assert_eq!(variables, ["ALL_PROXY", "NO_PROXY"]);
    }

    #[test]
    fn variable_that_is_not_utf8_is_reported_by_its_name() {
        let (_, errors) =
            Proxies::read(|name| (name == "HTTPS_PROXY").then(|| OsStr::from_bytes(b"http://a\xff").into()));
        assert_eq!(errors, [ProxyError { variable: "HTTPS_PROXY", problem: NOT_UTF8.to_owned() }]);
    }

    #[test]
    fn host_in_no_proxy_is_called_directly() {
        let proxy = ("HTTPS_PROXY", "http://a:1");
        let direct = |list, url| proxy_for(&[proxy, ("no_proxy", list)], url).is_none();
        assert!(direct("*.vpce.amazonaws.com", "https://vpce-1.api.ecr.eu-west-1.vpce.amazonaws.com/"));
        assert!(direct("ecr.example:8443", "https://ecr.example:8443/"));
        assert!(!direct("ecr.example:8443", "https://ecr.example/"));
        assert!(direct("ecr.example:443", "https://ecr.example/"), "443 is the port of https");
    }
}
