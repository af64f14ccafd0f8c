//! Token of the machine's AWS role: `GetWebIdentityToken` of STS, by the AWS CLI. The client commands have no AWS SDK, and the CLI
//! finds credentials as every other program of the machine does.

use std::path::Path;

use super::program;
use crate::bearer_token::BearerToken;
use crate::environment;

/// Both majors of the CLI got the operation together: `.changes/2.32.0.json` and `.changes/1.43.0.json` of aws/aws-cli add it. The model
/// of STS has it in botocore 1.41.0, which awscli 1.43.0 requires, and not in 1.40.76, which awscli 1.42.76 requires.
const FIX: &str =
    "the role needs sts:GetWebIdentityToken, the account outbound identity federation, the AWS CLI 2.32 or 1.43";
/// Only regional endpoints have the operation.
const REGIONAL: (&str, &str) = ("AWS_STS_REGIONAL_ENDPOINTS", "regional");
/// Variables with the region: version 2 of the CLI reads both, the first before the other; version 1 reads only the other.
const REGION: &str = "AWS_REGION";
const REGION_OF_V1: &str = "AWS_DEFAULT_REGION";
/// Variables by which containers and pods get a role.
const OF_CONTAINERS: [&str; 3] =
    ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE"];
/// EC2's instances name their vendor there.
const VENDOR: &str = "/sys/devices/virtual/dmi/id/sys_vendor";

pub(super) fn is_present() -> bool {
    OF_CONTAINERS.into_iter().any(|name| environment::variable(name).is_some()) || is_instance(Path::new(VENDOR))
}

fn is_instance(vendor: &Path) -> bool {
    std::fs::read_to_string(vendor).is_ok_and(|vendor| vendor.trim() == "Amazon EC2")
}

/// Returns the region for a CLI of version 1, which does not read the variable that containers and SDKs have.
fn region() -> Option<String> {
    let is_set = environment::variable(REGION_OF_V1).is_some();
    environment::variable(REGION).filter(|_| !is_set)?.into_string().ok()
}

/// Requests a token of 5 minutes for the audience.
pub(super) async fn request(audience: &str) -> Result<BearerToken, String> {
    let operation = ["sts", "get-web-identity-token", "--audience", audience, "--signing-algorithm", "ES384"];
    let output = ["--duration-seconds", "300", "--query", "WebIdentityToken", "--output", "text"];
    let problem = |problem| format!("token_source aws: {problem}; {FIX}");
    let region = region();
    let variables = region.iter().map(|region| (REGION_OF_V1, region.as_str())).chain([REGIONAL]);
    program::run("aws", operation.into_iter().chain(output), variables).await.map_err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_is_known_by_its_vendor() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (vendor, expected) in [("Amazon EC2\n", true), ("QEMU\n", false), ("", false)] {
            std::fs::write(file.path(), vendor).unwrap();
            assert_eq!(is_instance(file.path()), expected, "{vendor:?}");
        }
        assert!(!is_instance(Path::new("/no/such/file")));
    }
}
