//! Settings of the calls to AWS.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::admission;
use super::web_identity::WebIdentity;
use crate::profile::Profile;
use crate::proxy::Proxies;
use crate::registry::Region;
use crate::source::verified::VerifiedKeys;

/// The problem of a configuration that needs a region and has none.
pub const NO_REGION: &str = "not set, and STS needs it for roles and web identities; set aws.region or AWS_REGION";

/// Endpoints, identity and timeouts of the calls to AWS. `None` leaves a value to the SDK's environment and files.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact of the configuration")]
pub struct Settings {
    /// Region of STS, and of registries named without one.
    pub region: Option<String>,
    /// Regions that callers may name beside AWS's own and those that other settings name.
    pub regions: Vec<Region>,
    /// Whether STS is called in a way that needs a region.
    pub needs_region: bool,
    /// Whether the environment keeps the SDK from asking IMDS, also for the region.
    pub imds_disabled: bool,
    /// PEM file of the certificates to trust instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Endpoint of ECR; `{region}` is replaced by the registry's region.
    pub ecr_endpoint: Option<String>,
    /// Endpoints of ECR by region; they take precedence over `ecr_endpoint`.
    pub ecr_endpoints: BTreeMap<String, String>,
    /// Endpoint of ECR Public.
    pub ecr_public_endpoint: Option<String>,
    /// Region of ECR Public.
    pub ecr_public_region: String,
    /// Endpoint of STS.
    pub sts_endpoint: Option<String>,
    /// Endpoint of AWS Sign-In, for short-lived tokens; `{region}` is replaced by the registry's region.
    pub signin_endpoint: Option<String>,
    /// Whether overrides of endpoints are FIPS endpoints, whatever their hosts.
    pub endpoints_are_fips: bool,
    /// Web identity to exchange for a role session at `sts_endpoint`. Without `sts_endpoint` the SDK's chain does the exchange.
    pub web_identity: Option<WebIdentity>,
    /// HTTP proxies of the environment.
    pub proxies: Proxies,
    /// Timeout of a TCP connection attempt.
    pub connect_timeout: Duration,
    /// Timeout of one attempt of a call.
    pub attempt_timeout: Duration,
    /// Timeout of a call with all its attempts.
    pub operation_timeout: Duration,
    /// Limits of the calls in flight and in the queue.
    pub admission: admission::Settings,
    /// Calls per second by which the profiles' roles are assumed.
    pub sts_calls_per_second: NonZeroU32,
    /// Role chains of the profiles other than `default`.
    pub profiles: Vec<Profile>,
    /// Which new credentials are tried at their registries.
    pub verification: Verification,
    /// Uses fixed credentials instead of the SDK's chain. For the simulated AWS, which accepts any.
    pub simulated_credentials: bool,
}

/// Settings of the layer that tries new credentials at their registries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verification {
    /// Whether it tries those of the broker's own identity, and of profiles that do not set it.
    pub own: bool,
    /// Whether the SDK's environment or files replace the endpoint of ECR or ECR Public.
    pub sdk_overrides: bool,
}

impl Settings {
    /// Returns the keys whose credentials are tried at their registries, by the configuration alone.
    #[must_use]
    pub fn verified_keys(&self) -> VerifiedKeys {
        VerifiedKeys::new(self.verification.own, &self.profiles)
    }

    /// Returns whether the tokens may come from another AWS than that of the registries. No registry may then receive them.
    #[must_use]
    pub fn overrides_registries(&self) -> bool {
        let own =
            [&self.ecr_endpoint, &self.ecr_public_endpoint, &self.signin_endpoint].into_iter().any(Option::is_some);
        own || !self.ecr_endpoints.is_empty() || self.verification.sdk_overrides || self.simulated_credentials
    }
}
