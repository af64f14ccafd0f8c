//! The request for a credential. Its answer decides three steps: `grant`, `AWS` and `token`.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::EffectiveSettings;
use crate::client::{Client, Failure, RegistryCredentials};

mod aws;
mod grant;
mod token;

/// The answer to a request for a registry's credential.
#[derive(Debug)]
pub(super) struct CredentialAnswer<'a> {
    answer: Result<RegistryCredentials, Failure>,
    took: Duration,
    registry: &'a str,
    principal: &'a str,
    effective: &'a EffectiveSettings,
}

impl<'a> CredentialAnswer<'a> {
    /// Requests the credential once. A retry would hide the broker's first answer.
    pub(super) async fn request(
        client: &mut Client<'_>,
        effective: &'a EffectiveSettings,
        registry: &'a str,
        principal: &'a str,
    ) -> Self {
        let start = Instant::now();
        let answer = client.credentials_once(&effective.query(registry), "").await;
        Self { answer, took: start.elapsed(), registry, principal, effective }
    }
}
