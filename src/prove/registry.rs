//! Requests to a registry with a token.

use http::StatusCode;
use reqwest::header::{AUTHORIZATION, HOST, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method};
use zeroize::Zeroizing;

use anyhow::Context as _;
use data_encoding::BASE64;

use crate::credential::{Credential, USERNAME};
use crate::doctor::RegistryUrl;
use crate::source::aws::{Settings, ca_bundle};

/// A client of registries. It follows no redirect and reads no body.
#[derive(Debug)]
pub(super) struct Registries {
    client: Client,
    /// The URL to use instead of the registries' own; the `Host` header still names the registry.
    url: Option<RegistryUrl>,
}

impl Registries {
    pub(super) fn new(settings: &Settings, url: Option<RegistryUrl>) -> anyhow::Result<Self> {
        let mut client = Client::builder().redirect(Policy::none()).timeout(settings.operation_timeout);
        client = if url.is_some() { client.no_proxy() } else { client.proxy(settings.proxies.for_reqwest()) };
        if let Some(file) = &settings.ca_bundle {
            client = client.tls_certs_only(Certificate::from_pem_bundle(&ca_bundle::read(file)?)?);
        }
        Ok(Self { client: client.build().context("cannot create the client of registries")?, url })
    }

    /// Returns the status of the answer; `None` if there was none.
    pub(super) async fn ask(
        &self,
        host: &str,
        (method, path): (Method, &str),
        token: &Credential,
    ) -> Option<StatusCode> {
        let url = match &self.url {
            Some(url) => url.url().join(path).ok()?,
            None => format!("https://{host}{path}").parse().ok()?,
        };
        let mut request = self.client.request(method, url).header(AUTHORIZATION, basic(token)?);
        if self.url.is_some() {
            request = request.header(HOST, host);
        }
        Some(request.send().await.ok()?.status())
    }
}

fn basic(token: &Credential) -> Option<HeaderValue> {
    let clear = Zeroizing::new(format!("{USERNAME}:{}", &*token.password().expose()));
    let header = Zeroizing::new(format!("Basic {}", BASE64.encode(clear.as_bytes())));
    let mut header = HeaderValue::from_str(&header).ok()?;
    header.set_sensitive(true);
    Some(header)
}
