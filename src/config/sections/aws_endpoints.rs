//! Rules for endpoint overrides, of the section `[aws]` and of the AWS SDK's variables and files.

use crate::config::reader::Reader;
use crate::config::settings::Aws;
use crate::config::url;
use crate::source::aws::endpoint_url::{
    is_chosen_by_region, is_fips, is_loopback, is_plaintext, is_plaintext_beyond_link,
};

const PLAINTEXT: &str = "sends AWS credentials in plaintext over the network; use https:// or set \
                         aws.allow_plaintext_endpoints = true";
const BY_REGION: &str = "lets callers choose the host by the region; write a domain such as example.com after {region}";
const NOT_FIPS: &str = "is not a FIPS endpoint, as AWS_USE_FIPS_ENDPOINT asks; name one, or set aws.endpoints_are_fips";

/// What an endpoint override must fulfil.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndpointRules {
    pub(super) allow_plaintext: bool,
    /// Whether the environment or the profile asks for FIPS endpoints, and the operator does not answer for the overrides.
    pub(super) fips: bool,
}

impl EndpointRules {
    /// Checks the URL of a variable or key with this name.
    pub(super) fn check_sdk(self, name: &str, text: &str) -> Result<(), String> {
        url::check_endpoint(text)?;
        let is_public = name.to_ascii_lowercase().contains("public");
        self.problem(text, is_public).map_or(Ok(()), |problem| Err(problem.to_owned()))
    }

    /// Checks the URL of IMDS, which gives away the broker's own credentials.
    pub(super) fn check_imds(self, text: &str) -> Result<(), String> {
        url::check_endpoint(text)?;
        let is_refused = is_plaintext_beyond_link(text) && !self.allow_plaintext;
        if is_refused { Err(PLAINTEXT.to_owned()) } else { Ok(()) }
    }

    /// Reports each endpoint of the section that breaks a rule.
    pub(super) fn check_section(self, reader: &mut Reader<'_>, settings: &Aws) {
        let Aws { ecr_endpoint, ecr_public_endpoint, sts_endpoint, signin_endpoint, ecr_endpoints, .. } = settings;
        for (endpoint, setting, is_public) in [
            (ecr_endpoint, Aws::ecr_endpoint(), false),
            (ecr_public_endpoint, Aws::ecr_public_endpoint(), true),
            (sts_endpoint, Aws::sts_endpoint(), false),
            (signin_endpoint, Aws::signin_endpoint(), false),
        ] {
            if let Some(problem) = endpoint.as_ref().and_then(|url| self.problem(url, is_public)) {
                reader.report(&setting, problem);
            }
        }
        for (region, url) in ecr_endpoints {
            if let Some(problem) = self.problem(url, false) {
                reader.report(&Aws::ecr_endpoints(), &format!("{region} {problem}"));
            }
        }
    }

    /// ECR Public has no FIPS endpoint, so that the rule for them does not concern it.
    fn problem(self, url: &str, is_public: bool) -> Option<&'static str> {
        if is_chosen_by_region(url) {
            Some(BY_REGION)
        } else if is_plaintext(url) && !self.allow_plaintext {
            Some(PLAINTEXT)
        } else if self.fips && !is_public && !is_fips(url) && !is_loopback(url) {
            Some(NOT_FIPS)
        } else {
            None
        }
    }
}
