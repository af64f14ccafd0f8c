//! `[aws]`: region, endpoints and timeouts.

use crate::config::reader::Reader;
use crate::config::settings;
use crate::profile::Profile;
use crate::source::aws;
use crate::source::aws::web_identity::WebIdentity;

pub(in crate::config) fn read(reader: &mut Reader<'_>, profiles: Vec<Profile>) -> aws::Settings {
    aws::Settings {
        region: reader.get(&settings::REGION),
        ca_bundle: reader
            .get(&settings::CA_BUNDLE)
            .or_else(|| reader.get_variable("AWS_CA_BUNDLE", settings::CA_BUNDLE.read)),
        ecr_endpoint: reader.get(&settings::ECR_ENDPOINT),
        ecr_endpoints: reader.get(&settings::ECR_ENDPOINTS),
        ecr_public_endpoint: reader.get(&settings::ECR_PUBLIC_ENDPOINT),
        ecr_public_region: reader.get(&settings::ECR_PUBLIC_REGION),
        sts_endpoint: reader.get(&settings::STS_ENDPOINT),
        web_identity: web_identity(reader),
        connect_timeout: reader.get(&settings::CONNECT_TIMEOUT),
        attempt_timeout: reader.get(&settings::ATTEMPT_TIMEOUT),
        operation_timeout: reader.get(&settings::OPERATION_TIMEOUT),
        profiles,
        simulated_credentials: false,
    }
}

/// What the AWS SDK would take from the environment by itself, in its order: access keys go first.
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
