//! Flags of a request for credentials.

use std::time::Duration;

use super::duration;
use crate::client::Query;

/// Flags of a request for credentials.
#[derive(Debug, clap::Args)]
pub(super) struct QueryArgs {
    /// Profile to request
    #[arg(long, env = "ECR_BROKER_PROFILE")]
    profile: Option<String>,
    /// Minimum remaining validity, such as 3h
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = duration::parse)]
    min_validity: Option<Duration>,
}

impl QueryArgs {
    /// Returns the profile of the flag or the variable.
    pub(super) fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// Returns a query for each registry. `default_profile` is the one of `client.toml`.
    pub(super) fn queries(&self, registries: &[String], default_profile: &str) -> Vec<Query> {
        let profile = self.profile.as_deref().unwrap_or(default_profile);
        let query = |registry: &String| Query {
            registry: registry.clone(),
            profile: profile.to_owned(),
            min_validity: self.min_validity,
            ..Query::default()
        };
        registries.iter().map(query).collect()
    }
}
