//! Settings of the calls to AWS.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::admission;
use super::web_identity::WebIdentity;
use crate::profile::Profile;
use crate::proxy::Proxies;
use crate::registry::Region;

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
    /// Role chains of the profiles other than `default`.
    pub profiles: Vec<Profile>,
    /// Uses fixed credentials instead of the SDK's chain. For the simulated AWS, which accepts any.
    pub simulated_credentials: bool,
}
