//! Buildkite: a conforming fake of `buildkite-agent`, whose own modules cannot be had, and the same as a program of the user's.

use super::runner::Runner;
use super::site::{Site, Times};
use crate::endpoint::PROOF;
use crate::other::succeed;

/// Asks the agent's endpoint as the agent does, and prints the token alone.
const REQUEST: &str = "curl --silent --fail --header \"Authorization: Bearer $BUILDKITE_AGENT_ACCESS_TOKEN\" \
                       \"$BUILDKITE_AGENT_ENDPOINT\" | sed 's/.*\"value\":\"//; s/\".*//'";

fn push_with(source: &[(&str, &str)], name: &str, script: &str) {
    let (site, times) = (Site::new(), Times::of_this_run());
    let runner = Runner::start(&site, times.life);
    site.install(name, script);
    let mut job = site.command("./push.sh", times.seconds);
    job.env("BUILDKITE_JOB_ID", "0190046e-e199-453b-a302-a21a4d649d31").env("BUILDKITE_AGENT_ACCESS_TOKEN", PROOF);
    job.env("BUILDKITE_AGENT_ENDPOINT", runner.url()).envs(source.iter().copied());
    succeed(&mut job);
    runner.assert_pushed_throughout(&site, name);
}

#[test]
#[ignore = "needs crane, curl, docker-registry and htpasswd, which .ci/tools installs"]
fn buildkite_job_pushes_for_longer_than_its_tokens_live() {
    let checked = "[ \"$*\" = 'oidc request-token --audience ecr-broker' ] || { echo \"usage: $*\" >&2; exit 2; }";
    push_with(&[("ECR_BROKER_TOKEN_SOURCE", "auto")], "buildkite-agent", &format!("{checked}\n{REQUEST}"));
}

#[test]
#[ignore = "needs crane, curl, docker-registry and htpasswd, which .ci/tools installs"]
fn job_with_token_exec_pushes_for_longer_than_its_tokens_live() {
    let checked =
        "[ \"$ECR_BROKER_AUDIENCE\" = ecr-broker ] || { echo \"audience: $ECR_BROKER_AUDIENCE\" >&2; exit 2; }";
    push_with(&[("ECR_BROKER_TOKEN_EXEC", "job-token")], "job-token", &format!("{checked}\n{REQUEST}"));
}
