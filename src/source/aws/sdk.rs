//! Configuration of the AWS SDK: region, timeouts, HTTP client, no retries.

use aws_config::retry::RetryConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_smithy_types::timeout::TimeoutConfig;

use super::http;
use super::settings::Settings;

/// Loads the SDK's environment and files, without an identity. Makes no network call.
pub(super) async fn load(settings: &Settings) -> anyhow::Result<SdkConfig> {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .app_name(AppName::new("ecr-broker")?)
        // `AdmissionControl` is the only retry layer, and has a budget.
        .retry_config(RetryConfig::disabled())
        .http_client(http::client(settings.ca_bundle.as_deref(), &settings.proxies)?)
        .timeout_config(timeouts(settings));
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    Ok(loader.no_credentials().load().await)
}

fn timeouts(settings: &Settings) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(settings.connect_timeout)
        .operation_attempt_timeout(settings.attempt_timeout)
        .operation_timeout(settings.operation_timeout)
        .build()
}
