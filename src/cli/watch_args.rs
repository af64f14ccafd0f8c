//! The registries that `watch` and `sync` follow.

use std::time::Duration;

use crate::client::Query;
use crate::protocol::MAX_REQUESTS;

#[derive(Debug, clap::Args)]
pub(super) struct Followed {
    /// Registry hosts, URLs or image references; none: all that the broker's grants name for you
    #[arg(value_name = "REGISTRY|IMAGE", num_args = 0..=MAX_REQUESTS)]
    registries: Vec<String>,
    /// The profile to mint the credentials with
    #[arg(long, env = "ECR_BROKER_PROFILE")]
    profile: Option<String>,
    /// How long they must always last, such as 3h
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    min_validity: Option<Duration>,
}

impl Followed {
    /// What to ask for; `profile` is what `client.toml` has for it.
    pub(super) fn queries(&self, profile: &str) -> Vec<Query> {
        let profile = self.profile.as_deref().unwrap_or(profile);
        let query = |registry: &String| Query {
            registry: registry.clone(),
            profile: profile.to_owned(),
            min_validity: self.min_validity,
        };
        self.registries.iter().map(query).collect()
    }
}
