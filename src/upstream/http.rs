//! The one HTTP client under every call to AWS, and how much of an answer it reads.

use std::path::Path;

use anyhow::Context as _;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use http_body_util::Limited;

/// The largest answer that is read: a token is 5 KB today, and an answer holds one.
const LARGEST_ANSWER: usize = 256 * 1024;

/// A client to be shared by every SDK client: each would otherwise make connections, and load the roots, of its own.
///
/// `ca_bundle` takes the place of the system's roots, as `AWS_CA_BUNDLE` does for AWS's own tools; the Rust SDK does not read it.
pub(super) fn client(ca_bundle: Option<&Path>) -> anyhow::Result<SharedHttpClient> {
    let tls = tls(ca_bundle)?;
    // The hidden function is the only one that takes a proxy and still keeps one connection pool for all settings.
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls.clone())
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    }))
}

fn tls(ca_bundle: Option<&Path>) -> anyhow::Result<TlsContext> {
    let roots = match ca_bundle {
        None => TrustStore::default(),
        Some(path) => {
            let pem = std::fs::read(path).with_context(|| format!("cannot read the CA bundle {}", path.display()))?;
            anyhow::ensure!(
                pem.windows(27).any(|line| line == b"-----BEGIN CERTIFICATE-----"),
                "the CA bundle {} holds no certificate in PEM form",
                path.display()
            );
            TrustStore::empty().with_pem_certificate(pem)
        }
    };
    Ok(TlsContext::builder().with_trust_store(roots).build()?)
}

/// Ends the reading of an answer that is too large, so that an upstream gone wrong cannot fill the broker's memory.
#[derive(Debug)]
pub(super) struct LimitAnswer;

impl Intercept for LimitAnswer {
    fn name(&self) -> &'static str {
        "LimitAnswer"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let unlimited = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(unlimited, LARGEST_ANSWER));
        Ok(())
    }
}
