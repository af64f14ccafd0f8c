//! `GetAuthorizationToken` of Amazon ECR, for private registries.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ecr::config::{Builder, Region};
use aws_sdk_ecr::types::AuthorizationData;
use aws_sdk_ecr::{Client, Config};
use aws_types::request_id::RequestId as _;

use super::Shared;
use super::error::{failure, invalid_answer, name, record_request_id};
use super::http::LimitAnswer;
use crate::credential::Credential;
use crate::error::UpstreamError;
use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Registry};

/// ECR in every region.
#[derive(Debug)]
pub(super) struct Ecr {
    shared: Arc<Shared>,
}

impl Ecr {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// One token, for the account that was asked for.
    pub(super) async fn fetch(&self, sdk: &SdkConfig, registry: &PrivateRegistry) -> Result<Credential, UpstreamError> {
        let client = Client::from_conf(self.config(sdk, registry.region().as_str(), registry.variant()));
        let account = registry.account().map(|account| account.to_string());
        // Deprecated by AWS, but the only way to have the answer name the account that the caller named.
        #[allow(deprecated)]
        let call = client.get_authorization_token().set_registry_ids(account.map(|account| vec![account]));
        let answer = call.send().await.map_err(|error| failure(&error))?;
        record_request_id(answer.request_id());
        let Some(data) = answer.authorization_data().first() else {
            return Err(invalid_answer("the answer's list of tokens is empty"));
        };
        let credential = self.shared.open(data.authorization_token(), data.expires_at())?;
        let account = match registry.account() {
            Some(account) => account,
            None => account_of(data).ok_or_else(|| invalid_answer("the answer names no registry of ECR's"))?,
        };
        Ok(credential.for_account(Some(account)).from_answer(answer.request_id().and_then(name)))
    }

    /// The SDK refuses FIPS or dual-stack together with an endpoint override, so an override clears both.
    fn config(&self, sdk: &SdkConfig, region: &str, variant: EndpointVariant) -> Config {
        let config = Builder::from(sdk).region(Region::new(region.to_owned())).interceptor(LimitAnswer);
        match self.shared.ecr_endpoint(region) {
            Some(endpoint) => config.endpoint_url(endpoint).use_fips(false).use_dual_stack(false),
            None => config
                .use_fips(variant.fips || sdk.use_fips() == Some(true))
                .use_dual_stack(variant.dual_stack || sdk.use_dual_stack() == Some(true)),
        }
        .build()
    }
}

/// The account in `https://123456789012.dkr.ecr.eu-central-1.amazonaws.com`.
fn account_of(data: &AuthorizationData) -> Option<AccountId> {
    data.proxy_endpoint()?.parse::<Registry>().ok()?.account()
}
