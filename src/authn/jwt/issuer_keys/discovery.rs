//! Client of `OpenID` Connect Discovery 1.0: fetches an issuer's document, and the keys at the URL in it.

use std::error::Error;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use crate::authn::jwt::key_set::{KeySet, KeySetError};
use crate::authn::jwt::settings::Settings;
use crate::quoted::{Quoted, Visible};
use crate::trusted_file;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of the document and the keys together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_RESPONSE_BYTES: usize = 256 * 1024;
/// Longest URL that the log has as a whole.
const MAX_SHOWN_URL: usize = 256;

/// A client of one issuer.
#[derive(Debug)]
pub(super) struct DiscoveryClient {
    issuer: String,
    /// The configured URL of the keys.
    jwks_uri: Option<Url>,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl DiscoveryClient {
    pub(super) fn new(settings: &Settings, jwks_uri: Option<&str>) -> Result<Self, KeySetError> {
        let jwks_uri = jwks_uri.and_then(|url| Url::parse(url).ok());
        Ok(Self { issuer: settings.issuer.clone(), jwks_uri, http: http_client(settings)? })
    }

    pub(super) async fn fetch(&self) -> Result<KeySet, String> {
        let outcome = tokio::time::timeout(FETCH_TIMEOUT, self.fetch_untimed()).await;
        outcome.unwrap_or_else(|_| Err(format!("no response within {FETCH_TIMEOUT:?}")))
    }

    /// A configured URL of the keys needs no document: every server of a Kubernetes control plane publishes another address.
    async fn fetch_untimed(&self) -> Result<KeySet, String> {
        let url = match &self.jwks_uri {
            Some(url) => url.to_string(),
            None => self.fetch_keys_url().await?,
        };
        let keys = get(&self.http, &url).await?;
        KeySet::read(&keys).map_err(|error| format!("jwks_uri: {error}"))
    }

    async fn fetch_keys_url(&self) -> Result<String, String> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document = get(&self.http, &url).await?;
        let document: Document =
            serde_json::from_slice(&document).map_err(|_| format!("{url} is not a discovery document"))?;
        if document.issuer != self.issuer {
            return Err(format!("{url} is the document of another issuer"));
        }
        match published_url_problem(&self.issuer, &document.jwks_uri) {
            Some(problem) => Err(format!("the document's jwks_uri {} {problem}", Quoted(&document.jwks_uri))),
            None => Ok(document.jwks_uri),
        }
    }
}

/// Returns why the broker does not take keys from the URL that an issuer publishes. With another origin, an issuer could make the
/// broker call services of the broker's host, and take keys from any process that listens there.
fn published_url_problem(issuer: &str, url: &str) -> Option<&'static str> {
    let (Ok(issuer), Ok(url)) = (Url::parse(issuer), Url::parse(url)) else {
        return Some("is not a URL; set jwks_uri in [[authentication.jwt]]");
    };
    if has_credentials_or_fragment(&url) {
        Some("has a user name, password or fragment; set jwks_uri in [[authentication.jwt]] without it")
    } else if url.scheme() == "http" && issuer.scheme() != "http" {
        Some("is plaintext; set jwks_uri in [[authentication.jwt]] to a URL with https://")
    } else if url.origin() != issuer.origin() {
        Some("is of another origin than the issuer; if right, set jwks_uri in [[authentication.jwt]]")
    } else {
        None
    }
}

/// Returns whether an issuer may have its keys at this URL: plaintext only if the issuer's own URL is, on loopback.
#[must_use]
pub fn may_have_keys_at(issuer: &str, url: &str) -> bool {
    let (Ok(issuer), Ok(url)) = (Url::parse(issuer), Url::parse(url)) else { return false };
    is_unforgeable(&url) && !has_credentials_or_fragment(&url) && (url.scheme() == "https" || issuer.scheme() == "http")
}

/// Returns whether a URL can be an issuer: without a query, and the network cannot forge a response from it.
#[must_use]
pub fn is_safe_url(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    url.query().is_none() && !has_credentials_or_fragment(&url) && is_unforgeable(&url)
}

/// Returns whether the network cannot forge a response: the URL uses https, or a loopback address of this host.
fn is_unforgeable(url: &Url) -> bool {
    let local = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    url.scheme() == "https" || url.scheme() == "http" && local
}

fn has_credentials_or_fragment(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some() || url.fragment().is_some()
}

/// Returns a client that follows no redirect: a redirect could lead to any host.
fn http_client(settings: &Settings) -> Result<reqwest::Client, KeySetError> {
    let mut builder =
        reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(reqwest::redirect::Policy::none());
    // A proxy would send plaintext to another host.
    builder = if settings.issuer.starts_with("http://") {
        builder.no_proxy()
    } else {
        builder.proxy(settings.proxies.for_reqwest())
    };
    let Some(path) = &settings.ca_bundle else {
        return builder.build().map_err(|error| KeySetError::HttpClient(error.to_string()));
    };
    let unusable = |problem| KeySetError::CaBundle { path: path.clone(), problem };
    let pem = trusted_file::read(path).map_err(|error| unusable(error.to_string()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(unusable("contains no PEM certificates".to_owned()));
    }
    builder.tls_certs_only(certificates).build().map_err(|error| unusable(format!("cannot be used: {error}")))
}

async fn get(client: &reqwest::Client, url: &str) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| format!("{}: {}", shown(url), cause(&error.without_url()));
    let mut response = client.get(url).send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("{}: {}", shown(url), response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE_BYTES {
            return Err(format!("{}: more than {MAX_RESPONSE_BYTES} bytes", shown(url)));
        }
    }
    Ok(body)
}

/// Returns a URL for the log. One that the issuer publishes may be long.
fn shown(url: &str) -> String {
    if url.len() <= MAX_SHOWN_URL { Visible(url).to_string() } else { Quoted(url).to_string() }
}

/// Returns an error's text and that of its first cause, which says more: `error sending request: Connection refused`.
fn cause(error: &(dyn Error + 'static)) -> String {
    let first = std::iter::successors(error.source(), |cause| (*cause).source()).last();
    first.map_or_else(|| error.to_string(), |first| format!("{error}: {first}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_keys_url_names_its_cause_and_remedy() {
        let issuer = "https://login.example/v2.0/";
        for (url, cause) in [
            ("https://login.example/keys", None),
            ("https://login.example/keys?p=b2c_1_signin", None),
            ("https://login.example:443/keys", None),
            ("keys", Some("is not a URL")),
            ("https://u:p@login.example/keys", Some("has a user name")),
            ("https://login.example/keys#one", Some("or fragment")),
            ("http://login.example/keys", Some("is plaintext")),
            ("http://127.0.0.1/keys", Some("is plaintext")),
            ("https://keys.example/keys", Some("is of another origin")),
            ("https://login.example:8443/keys", Some("is of another origin")),
        ] {
            let problem = published_url_problem(issuer, url);
            assert_eq!(problem.is_some(), cause.is_some(), "{url}");
            let Some((problem, cause)) = problem.zip(cause) else { continue };
            assert!(problem.contains(cause) && problem.contains("set jwks_uri in [[authentication.jwt]]"), "{problem}");
            assert!("the document's jwks_uri  ".len() + problem.len() <= 120, "{problem}");
        }
        let local = "http://127.0.0.1:1";
        assert_eq!(published_url_problem(local, "http://127.0.0.1:1/keys"), None);
        assert!(published_url_problem(local, "http://127.0.0.1:2/keys").is_some());
    }

    #[tokio::test]
    async fn failed_fetch_names_the_whole_url_and_the_cause() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/{}/.well-known/openid-configuration", "tenant".repeat(10));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let error = get(&client, &url).await.unwrap_err();
        assert!(error.starts_with(&format!("{url}: ")) && error.contains("Connection refused"), "{error}");
        assert!(shown(&"x".repeat(257)).ends_with("… (257 bytes)"));
    }

    #[test]
    fn configured_keys_url_may_have_a_query_and_no_password() {
        let issuer = "https://login.example/v2.0/";
        assert!(may_have_keys_at(issuer, "https://keys.example/keys?p=b2c_1_signin"));
        for url in ["https://u:p@keys.example/", "https://keys.example/#a", "http://127.0.0.1/", "keys"] {
            assert!(!may_have_keys_at(issuer, url), "{url}");
        }
        assert!(may_have_keys_at("http://127.0.0.1:1", "http://localhost:2/keys"));
    }
}
