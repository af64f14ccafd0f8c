//! Single calls to AWS for `prove`: by the operator's identity, or by a role session that it assumes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ecr::Client;
use aws_types::request_id::RequestId as _;

use super::endpoints::Endpoints;
use super::error::{CallContext, invalid_response, safe_name, upstream_error};
use super::identity::BrokerIdentity;
use super::settings::Settings;
use super::{ecr, signin, sts};
use crate::clock::Clock;
use crate::credential::Credential;
use crate::error::UpstreamError;
use crate::metrics::Registry;
use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Region};
use crate::source::Metrics;

/// Names the sessions in CloudTrail.
const SESSION_NAME: &str = "ecr-broker-prove";

/// AWS, as the operator's identity sees it.
#[derive(Debug)]
pub struct Account {
    sdk: SdkConfig,
    endpoints: Endpoints,
    region: Region,
    clock: Arc<dyn Clock>,
}

/// A role session.
#[derive(Debug)]
pub struct Session(SdkConfig);

/// The value of an answer, and AWS's ID of the request.
#[derive(Debug)]
pub struct Answered<T> {
    /// The value.
    pub value: T,
    /// The request ID.
    pub request_id: Option<Box<str>>,
}

/// A call's outcome.
pub type Called<T> = Result<Answered<T>, UpstreamError>;

impl Account {
    /// Reads the SDK's environment and files. Makes no call.
    ///
    /// # Errors
    /// The CA bundle cannot be used, or no region is set.
    pub async fn load(settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let metrics = Metrics::new(&mut Registry::default());
        let sdk = BrokerIdentity::load(settings, Arc::clone(&clock), metrics).await?.signer().sdk.clone();
        let region = sdk.region().context("no region; set aws.region or AWS_REGION")?.as_ref().parse()?;
        Ok(Self { endpoints: Endpoints::new(settings), sdk, region, clock })
    }

    /// Returns the region of the sandbox.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Returns the account of the operator, or of a session.
    ///
    /// # Errors
    /// As STS answered.
    pub async fn caller(&self, session: Option<&Session>) -> Called<AccountId> {
        let call = sts::client(self.sdk_of(session), self.endpoints.sts(&self.sdk).as_deref()).get_caller_identity();
        let response = call.send().await.map_err(|error| upstream_error(&error, self.context()))?;
        let account = response.account().and_then(|text| text.parse().ok());
        let value = account.ok_or_else(|| invalid_response("the response names no account"))?;
        Ok(Answered { value, request_id: response.request_id().and_then(safe_name) })
    }

    /// Assumes a role.
    ///
    /// # Errors
    /// As STS answered.
    pub async fn assume(&self, role: &str, policy: Option<String>, duration: Duration) -> Called<Session> {
        let client = sts::client(&self.sdk, self.endpoints.sts(&self.sdk).as_deref());
        let seconds = i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
        let call = client.assume_role().role_arn(role).role_session_name(SESSION_NAME).duration_seconds(seconds);
        let response = call.set_policy(policy).send().await.map_err(|error| upstream_error(&error, self.context()))?;
        let keys = response.credentials().ok_or_else(|| invalid_response("the response has no credentials"))?;
        // Without their expiry: the SDK would not send a call with expired keys, which is what one check needs.
        let token = Some(keys.session_token().to_owned());
        let keys = Credentials::new(keys.access_key_id(), keys.secret_access_key(), token, None, "prove");
        let sdk = self.sdk.to_builder().credentials_provider(SharedCredentialsProvider::new(keys));
        let value = Session(sdk.identity_cache(IdentityCache::lazy().build()).build());
        Ok(Answered { value, request_id: response.request_id().and_then(safe_name) })
    }

    /// Requests a token of the registry.
    ///
    /// # Errors
    /// As ECR answered.
    pub async fn token(
        &self,
        session: Option<&Session>,
        registry: &PrivateRegistry,
    ) -> Result<Credential, UpstreamError> {
        let endpoint = self.endpoints.ecr(&self.sdk, self.region.as_str());
        ecr::fetch(self.sdk_of(session), endpoint, registry, &*self.clock).await
    }

    /// Requests a short-lived token of the registry.
    ///
    /// # Errors
    /// As AWS Sign-In answered.
    pub async fn short_lived_token(
        &self,
        session: Option<&Session>,
        (registry, lifetime): (&PrivateRegistry, Duration),
    ) -> Result<Credential, UpstreamError> {
        let endpoint = self.endpoints.signin(&self.sdk, self.region.as_str());
        signin::fetch(self.sdk_of(session), endpoint, (registry, lifetime), &*self.clock).await
    }

    /// Creates a repository.
    ///
    /// # Errors
    /// As ECR answered.
    pub async fn create_repository(&self, name: &str) -> Called<()> {
        let response = self.ecr()?.create_repository().repository_name(name).send().await;
        let response = response.map_err(|error| upstream_error(&error, self.context()))?;
        Ok(Answered { value: (), request_id: response.request_id().and_then(safe_name) })
    }

    /// Deletes a repository and what is in it.
    ///
    /// # Errors
    /// As ECR answered.
    pub async fn delete_repository(&self, name: &str) -> Called<()> {
        let response = self.ecr()?.delete_repository().repository_name(name).force(true).send().await;
        let response = response.map_err(|error| upstream_error(&error, self.context()))?;
        Ok(Answered { value: (), request_id: response.request_id().and_then(safe_name) })
    }

    /// Sets the policy of a repository.
    ///
    /// # Errors
    /// As ECR answered.
    pub async fn set_repository_policy(&self, name: &str, policy: String) -> Called<()> {
        let response = self.ecr()?.set_repository_policy().repository_name(name).policy_text(policy).send().await;
        let response = response.map_err(|error| upstream_error(&error, self.context()))?;
        Ok(Answered { value: (), request_id: response.request_id().and_then(safe_name) })
    }

    fn ecr(&self) -> Result<Client, UpstreamError> {
        let (region, variant) = (self.region.as_str(), EndpointVariant::default());
        let endpoint = self.endpoints.ecr(&self.sdk, region);
        Ok(Client::from_conf(ecr::config(&self.sdk, endpoint, region, variant)?))
    }

    fn sdk_of<'a>(&'a self, session: Option<&'a Session>) -> &'a SdkConfig {
        session.map_or(&self.sdk, |session| &session.0)
    }

    fn context(&self) -> CallContext<'_> {
        let region = self.region.as_str();
        CallContext { clock: &*self.clock, region, sts_region: Some(region) }
    }
}
