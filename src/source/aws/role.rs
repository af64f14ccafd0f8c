//! Role chains: each role of a profile is assumed by the session of the role before it.

use std::ops::Range;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::Client;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::types::Tag;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use tracing::warn;

use super::error::Refusal;
use super::signer::Signer;
use super::sts;
use super::sts_budget::StsBudget;
use crate::credential::{CredentialKey, Minter, ProfileName};
use crate::profile::{ChainedRole, Profile, TagsOfRole};
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
    tags: TagsOfRole,
    profile: ProfileName,
    minter: Minter,
    budget: Arc<StsBudget>,
    metrics: Metrics,
}

/// How roles are assumed.
#[derive(Debug, Clone, Copy)]
pub(super) struct StsCalls<'a> {
    /// The endpoint configured instead of AWS's own.
    pub(super) endpoint: Option<&'a str>,
    pub(super) metrics: &'a Metrics,
    pub(super) budget: &'a Arc<StsBudget>,
}

/// Returns the session of the last role in `part` of a profile's chain, starting from `base`. The SDK caches and refreshes each
/// session, and assumes a role once for all waiting callers. Returns `None` if the part is empty, or a role needs an account and the
/// key has none.
pub(super) fn assume_chain(
    base: &SdkConfig,
    StsCalls { endpoint, metrics, budget }: StsCalls<'_>,
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
            sts: sts::client(&sdk, endpoint),
            arn,
            session_name: session_name.clone(),
            // AWS passes it on to the sessions that are assumed from this one.
            source_identity: (profile.source_identity && index == 0).then(|| session_name.clone()),
            external_id: external_id.clone(),
            session_policy: (index == last).then(|| profile.session_policy_of(key)).flatten(),
            tags: profile.tags_of_role(key.caller.as_ref(), index),
            profile: profile.name.clone(),
            minter,
            budget: Arc::clone(budget),
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
        self.budget.take().map_err(CredentialsError::provider_error)?;
        let call = self
            .sts
            .assume_role()
            .role_arn(&self.arn)
            .role_session_name(&self.session_name)
            .set_source_identity(self.source_identity.clone())
            .set_external_id(self.external_id.clone())
            .set_policy(self.session_policy.clone())
            .set_tags(self.sts_tags()?)
            .set_transitive_tag_keys(self.transitive_tag_keys())
            .send();
        let response = sts::measured(&self.metrics, call).await;
        let response = response.inspect_err(|error| self.explain(error)).map_err(CredentialsError::provider_error)?;
        if let Some(user) = response.assumed_role_user() {
            self.minter.identify(user.assumed_role_id());
        }
        sts::session_credentials(response.credentials(), "AssumeRole")
    }

    /// Returns the session tags; `None` if there are none.
    fn sts_tags(&self) -> Result<Option<Vec<Tag>>, CredentialsError> {
        let tag = |(key, value): &(Box<str>, Box<str>)| Tag::builder().key(&**key).value(&**value).build();
        let tags =
            self.tags.tags.iter().map(tag).collect::<Result<Vec<_>, _>>().map_err(CredentialsError::unhandled)?;
        Ok(Some(tags).filter(|tags| !tags.is_empty()))
    }

    fn transitive_tag_keys(&self) -> Option<Vec<String>> {
        let keys: Vec<_> = self.tags.transitive.iter().map(ToString::to_string).collect();
        Some(keys).filter(|keys| !keys.is_empty())
    }

    /// Logs what an operator has to change, if STS's refusal says so.
    fn explain(&self, error: &SdkError<AssumeRoleError, HttpResponse>) {
        let Some(refusal) = Refusal::of(error.meta()) else { return };
        warn!(
            profile = %self.profile,
            role = self.arn,
            session_policy_length = self.session_policy.as_ref().map(String::len),
            session_tags = self.tags.tags.len(),
            fix = refusal.fix(),
            "role not assumed"
        );
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
