//! Client of `OpenID` Connect Discovery 1.0: fetches an issuer's document, and the keys at the URL in it.

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use crate::authn::jwt::key_set::{KeySet, KeySetError};
use crate::authn::jwt::settings::Settings;
use crate::quoted::Quoted;
use crate::trusted_file;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of the document and the keys together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_RESPONSE_BYTES: usize = 256 * 1024;

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

    async fn fetch_untimed(&self) -> Result<KeySet, String> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document = get(&self.http, &url).await?;
        let document: Document =
            serde_json::from_slice(&document).map_err(|_| format!("{url} is not a discovery document"))?;
        if document.issuer != self.issuer {
            return Err(format!("{url} is the document of another issuer"));
        }
        self.check_keys_url(&document.jwks_uri)?;
        let keys = get(&self.http, &document.jwks_uri).await?;
        KeySet::read(&keys).map_err(|error| format!("jwks_uri: {error}"))
    }

    /// Accepts the URL of the keys only at the issuer's origin or as configured. Otherwise an issuer could make the broker call
    /// services of the broker's host, and take keys from any process that listens there.
    fn check_keys_url(&self, url: &str) -> Result<(), String> {
        let is_configured = self.jwks_uri.is_some() && Url::parse(url).ok() == self.jwks_uri;
        if may_have_keys_at(&self.issuer, url) && (is_configured || have_same_origin(&self.issuer, url)) {
            return Ok(());
        }
        Err(format!(
            "the document's jwks_uri {} is not of the issuer's scheme, host and port; if it is right, set jwks_uri in \
             [[authentication.jwt]]",
            Quoted(url)
        ))
    }
}

/// Returns whether an issuer may have its keys at this URL: plaintext only if the issuer's own URL is.
#[must_use]
pub fn may_have_keys_at(issuer: &str, url: &str) -> bool {
    is_safe_url(url) && (!is_plaintext(url) || is_plaintext(issuer))
}

fn is_plaintext(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.scheme() == "http")
}

fn have_same_origin(one: &str, other: &str) -> bool {
    matches!((Url::parse(one), Url::parse(other)), (Ok(one), Ok(other)) if one.origin() == other.origin())
}

/// Returns whether the network cannot forge a response from this URL: it uses https, or a loopback address of this host.
#[must_use]
pub fn is_safe_url(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let plain =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let local = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    plain && (url.scheme() == "https" || url.scheme() == "http" && local)
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
    let failed = |error: reqwest::Error| format!("{}: {}", Quoted(url), error.without_url());
    let mut response = client.get(url).send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("{}: {}", Quoted(url), response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE_BYTES {
            return Err(format!("{}: more than {MAX_RESPONSE_BYTES} bytes", Quoted(url)));
        }
    }
    Ok(body)
}
