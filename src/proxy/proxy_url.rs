//! The URL of a proxy.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// The URL of an HTTP proxy. It may contain a password, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    /// Returns the URL, with the user and the password of the proxy.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyUrl(..)")
    }
}

/// Accepts `HOST:PORT` and URLs with `http://` or `https://`. An error does not show the text.
impl FromStr for ProxyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        check_characters(text)?;
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(unsupported(&scheme));
        }
        let not_a_url = || "is not the URL of a proxy; write http://HOST:PORT".to_owned();
        let url: Uri = format!("{scheme}://{rest}").parse().map_err(|_| not_a_url())?;
        let authority = url.authority().filter(|authority| is_complete(authority)).ok_or_else(not_a_url)?;
        Ok(Self(format!("{scheme}://{authority}/")))
    }
}

fn check_characters(text: &str) -> Result<(), String> {
    if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
        return Err("is in quotes; remove them".to_owned());
    }
    if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err("contains white space; remove it".to_owned());
    }
    Ok(())
}

fn unsupported(scheme: &str) -> String {
    let is_scheme =
        scheme.len() <= 16 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme {
        return "has an unknown scheme; use an HTTP proxy, http://HOST:PORT".to_owned();
    }
    format!("names a {scheme} proxy, which is not supported; use an HTTP proxy, http://HOST:PORT")
}

/// Returns whether there is a host, and a valid port if there is a colon after it.
fn is_complete(authority: &http::uri::Authority) -> bool {
    let host = authority.host();
    let after = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, after)| after);
    let port = &after[host.len()..];
    !host.is_empty() && (port.is_empty() || authority.port_u16().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_urls_parse_with_and_without_a_scheme() {
        for (text, url) in [
            ("http://proxy:3128", "http://proxy:3128/"),
            ("HTTP://proxy:3128/", "http://proxy:3128/"),
            ("https://proxy.example", "https://proxy.example/"),
            ("proxy:3128", "http://proxy:3128/"),
            ("10.0.0.1:3128", "http://10.0.0.1:3128/"),
            ("[fd00::1]:3128", "http://[fd00::1]:3128/"),
            ("http://user:pass%20word@proxy:3128/path", "http://user:pass%20word@proxy:3128/"),
        ] {
            assert_eq!(text.parse::<ProxyUrl>().unwrap().as_str(), url);
        }
    }

    #[test]
    fn error_names_the_problem_and_hides_the_value() {
        for (text, problem) in [
            ("\"http://proxy:3128\"", "in quotes"),
            ("'http://proxy:3128'", "in quotes"),
            ("http://proxy:3128 ", "white space"),
            ("http://proxy:3128\n", "white space"),
            ("http:// proxy:3128", "white space"),
            ("socks5://proxy:1080", "names a socks5 proxy"),
            ("socks5h://user:secret@proxy:1080", "names a socks5h proxy"),
            ("secret secret://x", "white space"),
            ("user:secret@proxy://x", "has an unknown scheme"),
            ("http://", "is not the URL of a proxy"),
            ("http://:3128", "is not the URL of a proxy"),
            ("http://proxy:99999", "is not the URL of a proxy"),
            ("http://proxy:", "is not the URL of a proxy"),
            ("http://user:secret@", "is not the URL of a proxy"),
            ("http://pro<xy", "is not the URL of a proxy"),
        ] {
            let error = text.parse::<ProxyUrl>().unwrap_err();
            assert!(error.contains(problem) && !error.contains("secret"), "{text}: {error}");
        }
        let url: ProxyUrl = "http://user:secret@proxy".parse().unwrap();
        assert!(!format!("{url:?}").contains("secret"));
    }
}
