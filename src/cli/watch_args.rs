//! Arguments of `watch` and `sync`: the registries to watch.

use super::query_args::QueryArgs;
use crate::client::Query;
use crate::protocol::MAX_REQUESTS;

/// The registries to watch.
#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// Registry hosts, URLs or image references; default: all that your grants name
    #[arg(value_name = "REGISTRY|IMAGE")]
    registries: Vec<String>,
    #[command(flatten)]
    query: QueryArgs,
}

impl WatchArgs {
    /// Returns why the broker would refuse the watch, if there are too many registries.
    pub(super) fn usage_error(&self) -> Option<String> {
        let count = self.registries.len();
        let problem = format!(
            "{count} registries are too many for one watch; name at most {MAX_REQUESTS}, or none for all that your grants name"
        );
        (count > MAX_REQUESTS).then_some(problem)
    }

    /// Returns a query for each registry. `default_profile` is the one of `client.toml`.
    pub(super) fn queries(&self, default_profile: &str) -> Vec<Query> {
        self.query.queries(&self.registries, default_profile)
    }
}
