//! Buildkite: a conforming fake of `buildkite-agent`, whose own modules cannot be had, and the same as a program of the user's.

use std::process::Command;

use super::recipe::{Recipe, file};
use super::runner::Runner;
use super::site::{Site, Times};
use crate::endpoint::PROOF;
use crate::other::{script, succeed, tools};

/// Asks the agent's endpoint as the agent does, and prints the token alone.
const REQUEST: &str = "curl --silent --fail --header \"Authorization: Bearer $BUILDKITE_AGENT_ACCESS_TOKEN\" \
                       \"$BUILDKITE_AGENT_ENDPOINT\" | sed 's/.*\"value\":\"//; s/\".*//'";

/// Runs a job, whose program `name` prints tokens.
fn push(job: impl FnOnce(&Site, i64) -> Command, name: &str, script: &str) {
    let (site, times) = (Site::new(&Recipe::of("buildkite")), Times::of_this_run());
    let runner = Runner::start(&site, times.life);
    site.install(name, script);
    let mut job = job(&site, times.seconds);
    job.env("BUILDKITE_JOB_ID", "0190046e-e199-453b-a302-a21a4d649d31").env("BUILDKITE_AGENT_ACCESS_TOKEN", PROOF);
    job.env("BUILDKITE_AGENT_ENDPOINT", runner.url());
    succeed(&mut job);
    runner.assert_pushed_throughout(&site, name);
}

#[test]
#[ignore = "needs PyYAML, crane, curl, docker-registry and htpasswd, which .ci/tools installs"]
fn buildkite_job_pushes_for_longer_than_its_tokens_live() {
    let checked = "[ \"$BUILDKITE_OIDC_TOKEN_CLAIMS: $*\" = \
                   'organization_id,pipeline_id: oidc request-token --audience ecr-broker' ] || \
                   { echo \"usage: $*\" >&2; exit 2; }";
    let job = |site: &Site, seconds| {
        let mut python = site.command(tools().join("venv/bin/python"), seconds);
        python.arg(script("jobs/pipeline.py")).arg(file("buildkite", "pipeline.yml"));
        python
    };
    push(job, "buildkite-agent", &format!("{checked}\n{REQUEST}"));
}

#[test]
#[ignore = "needs crane, curl, docker-registry and htpasswd, which .ci/tools installs"]
fn job_with_token_exec_pushes_for_longer_than_its_tokens_live() {
    let checked =
        "[ \"$ECR_BROKER_AUDIENCE\" = ecr-broker ] || { echo \"audience: $ECR_BROKER_AUDIENCE\" >&2; exit 2; }";
    let job = |site: &Site, seconds| {
        let mut job = site.command("./push.sh", seconds);
        job.env("ECR_BROKER_TOKEN_EXEC", "job-token");
        job
    };
    push(job, "job-token", &format!("{checked}\n{REQUEST}"));
}
