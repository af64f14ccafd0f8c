//! OIDC token of a Buildkite job, by the agent's own command.

use super::program;
use crate::bearer_token::BearerToken;
use crate::environment;

/// The agent's CHANGELOG names the command first in v3.41.0, of 2022-11-24. The sources of v3.43.0 have its `--audience`.
const FIX: &str =
    "run it in a job of buildkite-agent 3.41 or later; in a container, mount the agent (mount-buildkite-agent)";

pub(super) fn is_present() -> bool {
    ["BUILDKITE_JOB_ID", "BUILDKITE_AGENT_ACCESS_TOKEN"].into_iter().all(|name| environment::variable(name).is_some())
}

/// Requests a token for the audience. It lives 5 minutes.
pub(super) async fn request(audience: &str) -> Result<BearerToken, String> {
    let arguments = ["oidc", "request-token", "--audience", audience];
    let problem = |problem| format!("token_source buildkite: {problem}; {FIX}");
    program::run("buildkite-agent", arguments, []).await.map_err(problem)
}
