//! Arguments of `watch` and `sync`: the registries to watch.

use super::query_args::QueryArgs;
use crate::client::Query;
use crate::protocol::MAX_REQUESTS;

/// The registries to watch.
#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// Registry hosts, URLs or image references; default: all that your grants name
    #[arg(value_name = "REGISTRY|IMAGE", num_args = 0..=MAX_REQUESTS)]
    registries: Vec<String>,
    #[command(flatten)]
    query: QueryArgs,
}

impl WatchArgs {
    /// Returns a query for each registry. `default_profile` is the one of `client.toml`.
    pub(super) fn queries(&self, default_profile: &str) -> Vec<Query> {
        self.query.queries(&self.registries, default_profile)
    }
}
