//! Web identity: a token from a file, exchanged for a role session at a configured endpoint of STS.
//!
//! The SDK's own chain makes the same exchange, but reads the endpoint of STS only from the environment and files.

use std::path::PathBuf;

use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_sts::Client;

use super::sts;
use crate::source::Metrics;
use crate::trusted_file;

/// A web identity, from `AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_SESSION_NAME`.
#[derive(Debug, Clone)]
pub struct WebIdentity {
    /// The role to assume.
    pub role_arn: String,
    /// File with the token. It is read for each exchange, because the platform replaces it before it expires.
    pub token_file: PathBuf,
    /// The session's name in CloudTrail.
    pub session_name: String,
}

/// Provides the role's credentials.
#[derive(Debug)]
pub(super) struct Provider {
    sts: Client,
    identity: WebIdentity,
    metrics: Metrics,
}

impl Provider {
    pub(super) fn new(sdk: &SdkConfig, endpoint: &str, identity: WebIdentity, metrics: Metrics) -> Self {
        Self { sts: sts::client(sdk, Some(endpoint)), identity, metrics }
    }

    async fn assume(&self) -> provider::Result {
        let token = read_token(self.identity.token_file.clone()).await.map_err(CredentialsError::provider_error)?;
        let call = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&self.identity.role_arn)
            .role_session_name(&self.identity.session_name)
            .web_identity_token(token.trim())
            .send();
        let response = sts::measured(&self.metrics, call).await.map_err(CredentialsError::provider_error)?;
        sts::session_credentials(response.credentials(), "WebIdentity")
    }
}

/// Reads the token. A user who can replace its file chooses the identity for which AWS issues credentials.
async fn read_token(file: PathBuf) -> Result<String, String> {
    let name = file.display().to_string();
    let read = tokio::task::spawn_blocking(move || trusted_file::read_text(&file)).await;
    let text = read.map_err(|error| format!("web identity token {name}: {error}"))?;
    text.map_err(|error| format!("web identity token {name} {error}"))
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn token_that_any_user_can_replace_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        fs::write(&file, "header.claims.signature\n").unwrap();
        assert_eq!(read_token(file.clone()).await.as_deref(), Ok("header.claims.signature\n"));
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let refused = read_token(file.clone()).await.unwrap_err();
        let place = format!("web identity token {} is in the world-writable directory", file.display());
        assert!(refused.starts_with(&place), "{refused}");
        let missing = read_token(directory.path().join("none")).await;
        assert!(missing.is_err());
    }
}
