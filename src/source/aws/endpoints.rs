//! Endpoint overrides, from the configuration or from the SDK's environment and files. `None` means AWS's own endpoint.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

use super::endpoint_url::{REGION, is_fips, is_loopback};
use super::settings::Settings;

/// Region for [`REGION`] if the SDK has none. The check for loops needs only the host.
const ANY_REGION: &str = "us-east-1";

/// The configured endpoint overrides.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    ecr: Option<String>,
    ecr_by_region: BTreeMap<String, String>,
    ecr_public: Option<String>,
    sts: Option<String>,
    signin: Option<String>,
    are_fips: bool,
}

/// An endpoint override of ECR or AWS Sign-In.
#[derive(Debug)]
pub(super) struct Override {
    pub(super) url: String,
    /// Whether calls that must use FIPS may use it.
    pub(super) is_fips: bool,
}

impl Endpoints {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            ecr: settings.ecr_endpoint.clone(),
            ecr_by_region: settings.ecr_endpoints.clone(),
            ecr_public: settings.ecr_public_endpoint.clone(),
            sts: settings.sts_endpoint.clone(),
            signin: settings.signin_endpoint.clone(),
            are_fips: settings.endpoints_are_fips,
        }
    }

    /// Returns the endpoint of ECR in `region`.
    pub(super) fn ecr(&self, sdk: &SdkConfig, region: &str) -> Option<Override> {
        let url = self.ecr_by_region.get(region).cloned().or_else(|| self.ecr_in_other_regions(sdk, region))?;
        Some(self.checked(url))
    }

    /// Returns the endpoint of AWS Sign-In in `region`.
    pub(super) fn signin(&self, sdk: &SdkConfig, region: &str) -> Option<Override> {
        let configured = self.signin.as_ref().map(|endpoint| endpoint.replace(REGION, region));
        resolve(sdk, "SIGNIN", configured).map(|url| self.checked(url))
    }

    fn checked(&self, url: String) -> Override {
        let is_fips = self.are_fips || is_fips(&url) || is_loopback(&url);
        Override { url, is_fips }
    }

    fn ecr_in_other_regions(&self, sdk: &SdkConfig, region: &str) -> Option<String> {
        resolve(sdk, "ECR", self.ecr.as_ref().map(|endpoint| endpoint.replace(REGION, region)))
    }

    /// Returns the endpoint of ECR Public.
    pub(super) fn ecr_public(&self, sdk: &SdkConfig) -> Option<String> {
        resolve(sdk, "ECR PUBLIC", self.ecr_public.clone())
    }

    /// Returns the endpoint of STS.
    pub(super) fn sts(&self, sdk: &SdkConfig) -> Option<String> {
        resolve(sdk, "STS", self.sts.clone())
    }

    /// Returns every override.
    pub(super) fn overrides(&self, sdk: &SdkConfig) -> Vec<String> {
        let region = sdk.region().map_or(ANY_REGION, AsRef::as_ref);
        let signin = self.signin(sdk, region).map(|endpoint| endpoint.url);
        let shared = [self.ecr_in_other_regions(sdk, region), self.ecr_public(sdk), self.sts(sdk), signin];
        shared.into_iter().flatten().chain(self.ecr_by_region.values().cloned()).collect()
    }
}

/// Returns the configured endpoint, else `AWS_ENDPOINT_URL_<service>` or the files' `services` section, else `AWS_ENDPOINT_URL`.
fn resolve(sdk: &SdkConfig, service: &str, configured: Option<String>) -> Option<String> {
    configured.or_else(|| service_endpoint(sdk, service)).or_else(|| sdk.endpoint_url().map(str::to_owned))
}

fn service_endpoint(sdk: &SdkConfig, service: &str) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    sdk.service_config()?.load_config(key.ok()?)
}
