//! The URL that receives the credential instead of the registry's own.

use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// A URL that may receive the credential: over TLS, or on this host.
#[derive(Debug, Clone)]
pub struct RegistryUrl(Url);

/// Why a text is not a [`RegistryUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryUrlError {
    /// The text is not a URL.
    #[error("not a URL: {0}")]
    NotUrl(String),
    /// The URL has a user or a password.
    #[error("URL has a user or a password: the credential comes from the broker; remove them")]
    UserInfo,
    /// The URL has a path, a query or a fragment.
    #[error("URL has more than a host and a port: the path is always /v2/; remove the rest")]
    Path,
    /// The credential would go over a network in the clear.
    #[error("URL would receive a credential in the clear; use https://HOST, or http:// with a loopback address")]
    Cleartext,
}

impl RegistryUrl {
    pub(crate) fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for RegistryUrl {
    type Err = RegistryUrlError;

    fn from_str(text: &str) -> Result<Self, RegistryUrlError> {
        let url: Url = text.parse().map_err(|error| RegistryUrlError::NotUrl(format!("{error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RegistryUrlError::UserInfo);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(RegistryUrlError::Path);
        }
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_loopback(&url) => Ok(Self(url)),
            _ => Err(RegistryUrlError::Cleartext),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_url_is_tls_or_loopback() {
        for (text, accepted) in [
            ("https://vpce-1.dkr.ecr.eu-central-1.vpce.amazonaws.com", true),
            ("http://127.0.0.1:5000", true),
            ("http://[::1]:5000/", true),
            ("http://localhost:5000", true),
            ("http://10.0.0.1:5000", false),
            ("http://127.0.0.1.example", false),
            ("ftp://127.0.0.1", false),
            ("https://user:s3cret@registry.example", false),
            ("https://registry.example/proxy", false),
            ("https://registry.example/v2/", false),
            ("https://registry.example?x=1", false),
            ("https://registry.example#x", false),
            ("registry", false),
        ] {
            assert_eq!(text.parse::<RegistryUrl>().is_ok(), accepted, "{text}");
        }
    }
}
