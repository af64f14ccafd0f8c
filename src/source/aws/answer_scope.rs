//! Scope of AWS's answers: all on which they depend, for brokers that share them.

use aws_config::SdkConfig;

use super::endpoints::Endpoints;
use super::own_identity::OwnIdentity;
use crate::credential::{CredentialKey, ProfileName};
use crate::profile::ActiveProfiles;
use crate::registry::{EndpointVariant, Partition, Region, Registry};
use crate::source::shared_cache::entry_key::{EntryKeys, EntryParts};

/// The settings on which AWS's answers depend. No text among them contains a line end, which separates them.
#[derive(Debug)]
pub(super) struct AnswerScope {
    pub(super) own: OwnIdentity,
    pub(super) profiles: ActiveProfiles,
    pub(super) endpoints: Endpoints,
    pub(super) sdk: SdkConfig,
    pub(super) ecr_public_region: String,
}

/// What depends on the profile of a key.
struct Minting {
    identity: String,
    session_policy: String,
    attribution: String,
}

impl AnswerScope {
    fn minting(&self, key: &CredentialKey, partition: Partition) -> Option<Minting> {
        if key.profile == ProfileName::default_profile() {
            let identity = format!("own\n{}", self.own);
            return Some(Minting { identity, session_policy: String::new(), attribution: String::new() });
        }
        let profile = self.profiles.find(key)?;
        let account = key.registry.account();
        let mut identity = "roles".to_owned();
        for chained in &profile.role_chain {
            let external_id = chained.external_id.as_deref().unwrap_or_default();
            let role = chained.role.arn(partition, account)?;
            identity.extend(["\n", role.as_str(), " ", external_id]);
        }
        let session_name = profile.session_name(key.caller.as_ref());
        let source_identity = if profile.source_identity { &*session_name } else { "" };
        let mut attribution = format!("{session_name}\n{source_identity}");
        for (tag, value) in profile.tags_of(key.caller.as_ref()) {
            let is_transitive = profile.session_tags.0.iter().any(|one| one.is_transitive && one.key == tag);
            let how = if is_transitive { "transitive tag" } else { "tag" };
            attribution.extend(["\n", how, " ", &*tag, "=", &*value]);
        }
        Some(Minting { identity, session_policy: profile.session_policy_of(key).unwrap_or_default(), attribution })
    }

    /// Returns the variant of the endpoint, its override, and that of STS; of a short-lived token also the lifetime.
    fn endpoint(&self, CredentialKey { registry, lifetime, .. }: &CredentialKey) -> String {
        let (EndpointVariant { fips, dual_stack }, url) = match registry {
            Registry::Private(private) => {
                let region = private.region().as_str();
                let endpoint = match lifetime {
                    None => self.endpoints.ecr(&self.sdk, region),
                    Some(_) => self.endpoints.signin(&self.sdk, region),
                };
                (private.variant(), endpoint.map(|endpoint| endpoint.url))
            }
            Registry::Public { dual_stack } => {
                let variant = EndpointVariant { dual_stack: *dual_stack, ..EndpointVariant::default() };
                (variant, self.endpoints.ecr_public(&self.sdk))
            }
        };
        let fips = fips || self.sdk.use_fips() == Some(true);
        let dual_stack = dual_stack || self.sdk.use_dual_stack() == Some(true);
        let sts = self.endpoints.sts(&self.sdk).unwrap_or_default();
        let lifetime = lifetime.map(|lifetime| format!("\n{}", lifetime.minutes())).unwrap_or_default();
        format!("{fips} {dual_stack}\n{}\n{sts}{lifetime}", url.unwrap_or_default())
    }
}

impl EntryKeys for AnswerScope {
    fn parts(&self, key: &CredentialKey) -> Option<EntryParts> {
        let service = if key.lifetime.is_some() { "signin" } else { "ecr" };
        let (service, region) = match &key.registry {
            Registry::Private(private) => (service, private.region().as_str()),
            Registry::Public { .. } => ("ecr-public", &*self.ecr_public_region),
        };
        let partition = key.registry.region().map_or(Partition::Aws, Region::partition);
        let Minting { identity, session_policy, attribution } = self.minting(key, partition)?;
        Some(EntryParts {
            service,
            partition: partition.name(),
            account: key.registry.account().map(|account| account.to_string()).unwrap_or_default(),
            region: region.to_owned(),
            endpoint: self.endpoint(key),
            identity,
            session_policy,
            attribution,
        })
    }
}

#[cfg(test)]
mod tests;
