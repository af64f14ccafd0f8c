//! GitHub Actions: `act` runs a workflow, and the runner's token endpoint issues its tokens.

use super::runner::Runner;
use super::site::{Site, Times};
use crate::endpoint::PROOF;
use crate::other::{succeed, tools};

#[test]
#[ignore = "needs act, crane, docker-registry and htpasswd, which .ci/tools installs"]
fn github_workflow_pushes_for_longer_than_its_tokens_live() {
    let (site, times) = (Site::new(), Times::of_this_run());
    site.commit("jobs/github.yml", ".github/workflows/push.yml");
    let runner = Runner::start(&site, times.life);
    let mut act = site.command(tools().join("bin/act"), times.seconds);
    act.args(["push", "-P", "ubuntu-latest=-self-hosted", "--no-cache-server"]);
    for (name, value) in [("URL", runner.url()), ("TOKEN", PROOF)] {
        act.args(["--env", &format!("ACTIONS_ID_TOKEN_REQUEST_{name}={value}")]);
    }
    succeed(&mut act);
    runner.assert_pushed_throughout(&site, "github");
}
