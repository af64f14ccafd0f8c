//! GitLab: `gitlab-ci-local` runs a job. GitLab issues one token at the job's start and renews none.

use std::process::Output;

use super::issuer::Life;
use super::recipe::{Recipe, file};
use super::report::CLIENTS;
use super::site::{OF_THE_JOB, Site, Times, full};
use crate::other::{run, text, tools};

/// Runs the job with one token.
fn run_job(site: &Site, seconds: i64, life: Life) -> Output {
    site.commit(&file("gitlab", "gitlab-ci.yml"), ".gitlab-ci.yml");
    let mut gitlab = site.command("node", seconds);
    gitlab.arg(tools().join("node/node_modules/.bin/gitlab-ci-local")).args([
        "--shell-executor-no-image",
        "--shell-isolation",
        "push",
    ]);
    gitlab.args(["--variable", &format!("ECR_BROKER_ID_TOKEN={}", site.issuer.issue(life))]);
    run(&mut gitlab)
}

#[test]
#[ignore = "needs gitlab-ci-local, rsync, crane, docker-registry and htpasswd, which .ci/tools installs"]
fn gitlab_job_pushes_throughout_with_a_token_of_its_length() {
    let (site, times) = (Site::new(&Recipe::of("gitlab")), Times::of_this_run());
    let ended = run_job(&site, times.seconds, OF_THE_JOB);
    assert!(ended.status.success(), "{ended:?}");
    let report = site.report();
    report.assert_complete();
    site.assert_no_denial();
    println!("gitlab: {CLIENTS:?} made {:?} pushes, one token, no denial", CLIENTS.map(|client| report.pushes(client)));
}

/// A token of 20 s cannot be renewed. With the broker's tolerance it serves for 50 s.
#[test]
#[ignore = "needs gitlab-ci-local, rsync, crane, docker-registry and htpasswd, which .ci/tools installs"]
fn gitlab_job_pushes_until_its_token_ends_and_says_so() {
    let site = Site::new(&Recipe::of("gitlab"));
    let (seconds, life) = match full() {
        Some(seconds) => (seconds, Life { issued: 0, expires: 20 }),
        // The broker accepts it for 15 s.
        None => (20, Life { issued: -60, expires: -15 }),
    };
    let ended = run_job(&site, seconds, life);
    let ended = text(&ended.stdout) + &text(&ended.stderr);
    let report = site.report();
    for client in ["helper", "exec"] {
        assert!(report.pushes(client) >= 1 && report.failures(client) == 1, "{client}: {report:?}");
    }
    assert_eq!(report.exit_code("get"), 4, "{report:?}");
    let problem = "token_source gitlab: the token in ECR_BROKER_ID_TOKEN ended ";
    assert!(ended.contains(problem) && ended.contains("; raise the job's `timeout`"), "{ended}");
    // The registry's credential lives longer than the token, so the file of `sync` still serves.
    assert!(report.failures("sync") == 0 && report.exit_code("sync") == 0, "{report:?}");
    assert_eq!(ended.matches("; valid entries stay in ").count(), 1, "{ended}");
    println!("gitlab: {CLIENTS:?} made {:?} pushes, then the token ended", CLIENTS.map(|client| report.pushes(client)));
}
