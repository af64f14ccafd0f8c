//! The build: version, commit and features.

use super::registry::Registry;

/// Registers the build, as `--version` prints it.
pub(super) fn register(registry: &mut Registry) {
    registry.on_scrape(|scrape| {
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("commit", env!("ECR_BROKER_COMMIT")),
            ("features", env!("ECR_BROKER_FEATURES")),
        ];
        scrape.gauges("ecr_broker_build_info", "The build, always 1", [(labels, 1_u64)])
    });
}
