//! `GetAuthorizationToken` of Amazon ECR Public: one region, and an answer of another shape.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ecrpublic::config::{Builder, Region};
use aws_sdk_ecrpublic::{Client, Config};
use aws_types::request_id::RequestId as _;

use super::Shared;
use super::error::{failure, invalid_answer, name, record_request_id};
use super::http::LimitAnswer;
use crate::credential::Credential;
use crate::error::UpstreamError;

/// ECR Public in the region where it is.
#[derive(Debug)]
pub(super) struct EcrPublic {
    shared: Arc<Shared>,
}

impl EcrPublic {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// One token; it opens the public registry under either of its hosts.
    pub(super) async fn fetch(&self, sdk: &SdkConfig, dual_stack: bool) -> Result<Credential, UpstreamError> {
        let client = Client::from_conf(self.config(sdk, dual_stack));
        let answer = client.get_authorization_token().send().await.map_err(|error| failure(&error))?;
        record_request_id(answer.request_id());
        let Some(data) = answer.authorization_data() else {
            return Err(invalid_answer("the answer holds no authorization data"));
        };
        let credential = self.shared.open(data.authorization_token(), data.expires_at())?;
        Ok(credential.from_answer(answer.request_id().and_then(name)))
    }

    /// The SDK would build a host for whatever region it is given; there is one only in the configured one. FIPS is never asked
    /// for, for ECR Public has no such endpoint.
    fn config(&self, sdk: &SdkConfig, dual_stack: bool) -> Config {
        let region = Region::new(self.shared.settings.ecr_public_region.clone());
        let config = Builder::from(sdk).region(region).use_fips(false).interceptor(LimitAnswer);
        match self.shared.ecr_public_endpoint() {
            Some(endpoint) => config.endpoint_url(endpoint).use_dual_stack(false),
            None => config.use_dual_stack(dual_stack || sdk.use_dual_stack() == Some(true)),
        }
        .build()
    }
}
