//! The SDK's names of the providers in its default chain.

pub(super) const ENVIRONMENT: &str = "Environment";
pub(super) const PROFILE: &str = "Profile";
pub(super) const WEB_IDENTITY: &str = "WebIdentityToken";
pub(super) const CONTAINER: &str = "EcsContainer";
pub(super) const IMDS: &str = "Ec2InstanceMetadata";
