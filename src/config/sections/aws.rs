//! `[aws]`: region, endpoints and timeouts.

use std::num::NonZeroU32;
use std::path::Path;

use super::aws_endpoints::EndpointRules;
use super::{aws_sdk, system_roots};
use crate::config::reader::Reader;
use crate::config::settings::Aws;
use crate::profile::Profile;
use crate::proxy::{Proxies, ProxyError};
use crate::source::aws::admission;
use crate::source::aws::web_identity::WebIdentity;
use crate::source::aws::{self, Verification};
use crate::trusted_file::{self, TrustedFileError};

/// Divisor of `cache.max_waiters` for the queued calls of one requester. A call stays in the queue when its callers leave, and with
/// it their place among the waiters: one requester must not take all places.
const QUEUE_SHARE: usize = 8;

pub(in crate::config) fn read(reader: &mut Reader<'_>, profiles: Vec<Profile>, max_waiters: usize) -> aws::Settings {
    let settings = Aws::read(reader);
    let rules = EndpointRules {
        allow_plaintext: settings.allow_plaintext_endpoints,
        fips: aws_sdk::uses_fips(reader) && !settings.endpoints_are_fips,
    };
    rules.check_section(reader, &settings);
    aws_sdk::check(reader, rules);
    system_roots::check(reader);
    let Aws {
        region,
        regions,
        ca_bundle,
        ecr_endpoint,
        ecr_endpoints,
        ecr_public_endpoint,
        ecr_public_region,
        sts_endpoint,
        signin_endpoint,
        connect_timeout,
        attempt_timeout,
        operation_timeout,
        max_in_flight_per_region,
        max_in_flight,
        sts_calls_per_second,
        allow_plaintext_endpoints: _,
        endpoints_are_fips,
        verify,
    } = settings;
    let web_identity = web_identity(reader);
    if let Some(identity) = &web_identity {
        check_token_file(reader, &identity.token_file);
    }
    aws::Settings {
        needs_region: needs_region(reader, &profiles, web_identity.is_some(), sts_endpoint.is_some()),
        imds_disabled: aws_sdk::is_imds_disabled(reader),
        regions,
        region: region.or_else(|| aws_sdk::region(reader)),
        ca_bundle: ca_bundle.or_else(|| reader.get_variable("AWS_CA_BUNDLE", &Aws::ca_bundle())),
        ecr_endpoint,
        ecr_endpoints,
        ecr_public_endpoint,
        ecr_public_region,
        sts_endpoint,
        signin_endpoint,
        endpoints_are_fips,
        web_identity,
        proxies: proxies(reader),
        connect_timeout,
        attempt_timeout,
        operation_timeout,
        admission: admission::Settings {
            max_in_flight_per_region,
            max_in_flight,
            max_queued_per_requester: max_waiters.div_ceil(QUEUE_SHARE),
        },
        sts_calls_per_second: u32::try_from(sts_calls_per_second)
            .ok()
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MIN),
        profiles,
        verification: Verification { own: verify, sdk_overrides: aws_sdk::has_registry_endpoint(reader) },
        simulated_credentials: false,
    }
}

/// Returns whether the broker calls STS in a way that needs a region. A call for a web identity is not signed, so another endpoint
/// suffices for it.
fn needs_region(reader: &Reader<'_>, profiles: &[Profile], web_identity: bool, sts_endpoint: bool) -> bool {
    let roles = profiles.iter().any(|profile| !profile.role_chain.is_empty());
    let has_endpoint = sts_endpoint || aws_sdk::has_sts_endpoint(reader);
    roles || aws_sdk::profile_assumes_a_role(reader) || web_identity && !has_endpoint
}

/// Returns the proxies of the environment.
fn proxies(reader: &mut Reader<'_>) -> Proxies {
    let (proxies, errors) = Proxies::read(|name| reader.variable(name).map(Into::into));
    for ProxyError { variable, problem } in errors {
        reader.report_at(variable.to_owned(), problem);
    }
    proxies
}

/// Returns the web identity that the AWS SDK would use; like the SDK, access keys in the environment take precedence.
fn web_identity(reader: &Reader<'_>) -> Option<WebIdentity> {
    if reader.variable("AWS_ACCESS_KEY_ID").is_some() {
        return None;
    }
    Some(WebIdentity {
        role_arn: reader.variable("AWS_ROLE_ARN")?.to_owned(),
        token_file: reader.variable("AWS_WEB_IDENTITY_TOKEN_FILE")?.into(),
        session_name: reader.variable("AWS_ROLE_SESSION_NAME").unwrap_or("ecr-broker").to_owned(),
    })
}

/// Refuses a token that another user can write or replace, because the SDK reads it unchecked. A missing file may appear later.
fn check_token_file(reader: &mut Reader<'_>, file: &Path) {
    if let Some(error) = trusted_file::open(file).err().filter(TrustedFileError::is_distrust) {
        reader.report_at("AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(), format!("{} {error}", file.display()));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::{file, sources};

    #[test]
    fn access_keys_take_precedence_over_a_web_identity() {
        let file = file("[aws]\nsts_endpoint = \"https://sts\"");
        let role = [("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")];
        let with = Config::load(&sources(&file, &role)).unwrap();
        assert_eq!(with.aws.web_identity.unwrap().session_name, "ecr-broker");
        let keys = [role[0], role[1], ("AWS_ACCESS_KEY_ID", "AKIA")];
        assert!(Config::load(&sources(&file, &keys)).unwrap().aws.web_identity.is_none());
    }
}
