//! A role by web identity, at an STS that the configuration names.
//!
//! The SDK's own chain does the same, but takes STS's address from the environment and files only.

use std::path::PathBuf;

use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_sts::Client;

use super::sts;

/// What the environment says: `AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_SESSION_NAME`.
#[derive(Debug, Clone)]
pub struct WebIdentity {
    /// The role.
    pub role_arn: String,
    /// Holds the token; read anew each time, for it is replaced when it nears its end.
    pub token_file: PathBuf,
    /// Names the session in AWS's trail of calls.
    pub session_name: String,
}

/// Trades the token for credentials.
#[derive(Debug)]
pub(super) struct Provider {
    sts: Client,
    identity: WebIdentity,
}

impl Provider {
    pub(super) fn new(sdk: &SdkConfig, endpoint: &str, identity: WebIdentity) -> Self {
        Self { sts: sts::client(sdk, Some(endpoint)), identity }
    }

    async fn assume(&self) -> provider::Result {
        let token = tokio::fs::read_to_string(&self.identity.token_file).await;
        let token = token.map_err(CredentialsError::provider_error)?;
        let answer = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&self.identity.role_arn)
            .role_session_name(&self.identity.session_name)
            .web_identity_token(token.trim())
            .send()
            .await
            .map_err(CredentialsError::provider_error)?;
        sts::session(answer.credentials(), "WebIdentity")
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}
