//! Role chains: each role of a profile is assumed by the session of the role before it.

use std::ops::Range;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::Client;

use super::signer::Signer;
use super::sts;
use crate::credential::{CredentialKey, Minter};
use crate::profile::{ChainedRole, Profile};
use crate::registry::{Partition, Region};
use crate::source::Metrics;

/// Credentials provider of one role in a chain.
#[derive(Debug)]
struct Role {
    sts: Client,
    arn: String,
    session_name: String,
    source_identity: Option<String>,
    external_id: Option<String>,
    session_policy: Option<String>,
    minter: Minter,
    metrics: Metrics,
}

/// Returns the session of the last role in `part` of a profile's chain, starting from `base`. The SDK caches and refreshes each
/// session, and assumes a role once for all waiting callers. Returns `None` if the part is empty, or a role needs an account and the
/// key has none.
pub(super) fn assume_chain(
    base: &SdkConfig,
    (sts_endpoint, metrics): (Option<&str>, &Metrics),
    profile: &Profile,
    part: Range<usize>,
    key: &CredentialKey,
) -> Option<Arc<Signer>> {
    let (mut sdk, mut last_minter) = (base.clone(), None);
    let session_name = profile.session_name(key.caller.as_ref());
    let partition = partition(key);
    let last = profile.role_chain.len().saturating_sub(1);
    let roles = profile.role_chain.iter().enumerate().skip(part.start).take(part.len());
    for (index, ChainedRole { role, external_id }) in roles {
        let arn = role.arn(partition, key.registry.account())?;
        let minter = Minter::known(&arn);
        last_minter = Some(minter.clone());
        let role = Role {
            sts: sts::client(&sdk, sts_endpoint),
            arn,
            session_name: session_name.clone(),
            // AWS passes it on to the sessions that are assumed from this one.
            source_identity: (profile.source_identity && index == 0).then(|| session_name.clone()),
            external_id: external_id.clone(),
            session_policy: (index == last).then(|| profile.session_policy(&key.registry)).flatten(),
            minter,
            metrics: metrics.clone(),
        };
        sdk = with_role(sdk, role);
    }
    // An empty chain would yield the broker's own identity, which may have more permissions.
    last_minter.map(|minter| Arc::new(Signer { sdk, minter }))
}

/// Returns the partition of a key's roles. ECR Public has no region, and belongs to the commercial partition.
pub(super) fn partition(key: &CredentialKey) -> Partition {
    key.registry.region().map_or(Partition::Aws, Region::partition)
}

fn with_role(sdk: SdkConfig, role: Role) -> SdkConfig {
    sdk.into_builder()
        .credentials_provider(SharedCredentialsProvider::new(role))
        .identity_cache(IdentityCache::lazy().build())
        .build()
}

impl Role {
    async fn assume(&self) -> provider::Result {
        let call = self
            .sts
            .assume_role()
            .role_arn(&self.arn)
            .role_session_name(&self.session_name)
            .set_source_identity(self.source_identity.clone())
            .set_external_id(self.external_id.clone())
            .set_policy(self.session_policy.clone())
            .send();
        let response = sts::measured(&self.metrics, call).await.map_err(CredentialsError::provider_error)?;
        if let Some(user) = response.assumed_role_user() {
            self.minter.identify(user.assumed_role_id());
        }
        sts::session_credentials(response.credentials(), "AssumeRole")
    }
}

impl ProvideCredentials for Role {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}
