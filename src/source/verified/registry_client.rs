//! HTTPS client that asks registries whether they accept a credential.

use std::path::Path;

use anyhow::Context as _;
use data_encoding::BASE64;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder};
use zeroize::Zeroizing;

use super::super::SourceFuture;
use super::super::aws::ca_bundle;
use super::probe::{NoAnswer, RegistryProbe};
use crate::client::error_chain;
use crate::credential::{Credential, USERNAME};
use crate::proxy::Proxies;
use crate::registry::Registry;

const USER_AGENT: &str = concat!("ecr-broker/", env!("CARGO_PKG_VERSION"));

/// An HTTPS client that trusts the certificates and uses the proxies of the calls to AWS. It follows no redirect, because the
/// credential belongs to the registry alone, reads no body and keeps no connection.
#[derive(Debug)]
pub struct RegistryClient(Client);

impl RegistryClient {
    /// Returns a client.
    ///
    /// # Errors
    /// The CA bundle cannot be used.
    pub fn new(ca_bundle: Option<&Path>, proxies: &Proxies) -> anyhow::Result<Self> {
        let roots = ca_bundle.map(ca_bundle::read).transpose()?;
        let roots = roots.map(|pem| Certificate::from_pem_bundle(&pem)).transpose().context("aws.ca_bundle")?;
        Self::build(|client| match roots {
            Some(roots) => client.proxy(proxies.for_reqwest()).tls_certs_only(roots),
            None => client.proxy(proxies.for_reqwest()),
        })
    }

    fn build(change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> anyhow::Result<Self> {
        let client = Client::builder().redirect(Policy::none()).https_only(true).pool_max_idle_per_host(0);
        let client = change(client.user_agent(USER_AGENT)).build();
        client.map(Self).context("cannot create the HTTPS client that asks registries")
    }

    async fn send(&self, host: &str, credential: &Credential) -> Result<u16, NoAnswer> {
        let request = self.0.get(format!("https://{host}/v2/"));
        let answer = request.header(AUTHORIZATION, authorization(host, credential)?).send().await;
        let no_answer = |error: reqwest::Error| NoAnswer(error_chain(&error.without_url()));
        Ok(answer.map_err(no_answer)?.status().as_u16())
    }
}

impl RegistryProbe for RegistryClient {
    fn ask<'a>(&'a self, host: &'a str, credential: &'a Credential) -> SourceFuture<'a, Result<u16, NoAnswer>> {
        Box::pin(self.send(host, credential))
    }
}

/// Returns the header that AWS documents for direct requests: ECR Public takes the token as a bearer token.
fn authorization(host: &str, credential: &Credential) -> Result<HeaderValue, NoAnswer> {
    let scheme = if Registry::PUBLIC_HOSTS.contains(&host) { "Bearer" } else { "Basic" };
    let clear = Zeroizing::new(format!("{USERNAME}:{}", &*credential.password().expose()));
    let header = Zeroizing::new(format!("{scheme} {}", BASE64.encode(clear.as_bytes())));
    let mut header = HeaderValue::from_str(&header).map_err(|_| NoAnswer("unusable token".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}
