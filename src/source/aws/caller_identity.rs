//! The broker's name in AWS, for the log: whether a role is the right one shows before the first denial.

use aws_config::SdkConfig;
use tracing::info;

use super::error::class_of;
use super::sts;
use crate::registry::AccountId;

/// Longest ARN in the log.
const MAX_ARN: usize = 512;

/// Logs the account and the ARN behind the broker's credentials. Fetches go on without: STS may be out of reach.
pub(super) async fn log(sdk: &SdkConfig, sts_endpoint: Option<&str>) {
    match sts::client(sdk, sts_endpoint).get_caller_identity().send().await {
        Ok(identity) => {
            let account =
                identity.account().and_then(|text| text.parse::<AccountId>().ok()).map(tracing::field::display);
            let arn = identity.arn().filter(|arn| is_plain(arn));
            info!(account, arn, "AWS identity found");
        }
        Err(error) => info!(class = ?class_of(&error), "AWS identity found; STS did not tell its account and role"),
    }
}

fn is_plain(arn: &str) -> bool {
    arn.len() <= MAX_ARN && arn.bytes().all(|byte| byte.is_ascii_graphic())
}
