//! GitHub Actions: `act` runs the workflows with this repository's action; the runner's token endpoint issues tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::program::PROGRAM;
use super::recipe::{Recipe, file};
use super::runner::Runner;
use super::site::{HELPER, Site, Times};
use crate::PRIVATE;
use crate::endpoint::PROOF;
use crate::other::{succeed, tools};

/// Returns `act` with a workflow, whose runner has no token endpoint yet.
fn act(site: &Site, workflow: &str, seconds: i64) -> Command {
    let workflow = file("github", workflow);
    site.commit(&workflow, ".github/workflows/push.yml");
    let text = fs::read_to_string(workflow).unwrap();
    let (_, action) = text.split_once("uses: OWNER/ecr-broker/deploy/github-action@").unwrap();
    let tag = action.lines().next().unwrap();
    let mut act = site.command(tools().join("bin/act"), seconds);
    act.args(["push", "-P", "ubuntu-latest=-self-hosted", "-P", "self-hosted=-self-hosted", "--no-cache-server"]);
    act.arg("--local-repository").arg(format!("OWNER/ecr-broker@{tag}={}", action_repository(site)));
    act
}

/// Makes a directory with what the action needs of this repository.
fn action_repository(site: &Site) -> String {
    let repository = site.path("action");
    fs::create_dir_all(repository.join("deploy/github-action")).unwrap();
    for name in ["install.sh", "github-action/action.yml", "github-action/setup"] {
        let from = format!("{}/deploy/{name}", env!("CARGO_MANIFEST_DIR"));
        fs::copy(from, repository.join("deploy").join(name)).unwrap();
    }
    repository.display().to_string()
}

/// Runs the job with a runner's token endpoint.
fn run(mut act: Command, runner: &Runner) {
    for (name, value) in [("URL", runner.url()), ("TOKEN", PROOF)] {
        act.args(["--env", &format!("ACTIONS_ID_TOKEN_REQUEST_{name}={value}")]);
    }
    succeed(&mut act);
}

/// Makes a release whose programs start those of the tests. Returns its directory and the checksum of SHA256SUMS.
fn release(site: &Site) -> (String, String) {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    fs::create_dir_all(site.path("release/bin")).unwrap();
    for (name, program) in [("ecr-broker", PROGRAM), ("docker-credential-ecr-broker", HELPER)] {
        let path = site.path("release/bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nexec {program} \"$@\"\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let archive = format!("ecr-broker-0.2.0-linux-{architecture}.tar.gz");
    let script = format!("tar -czf {archive} bin && sha256sum {archive} >SHA256SUMS && sha256sum SHA256SUMS");
    let sum = succeed(Command::new("sh").args(["-ec", &script]).current_dir(site.path("release")));
    (site.path("release").display().to_string(), sum.split(' ').next().unwrap().to_owned())
}

#[test]
#[ignore = "needs act, crane, docker-registry and htpasswd, which .ci/tools installs"]
fn github_workflow_installs_and_pushes_for_longer_than_its_tokens_live() {
    let (site, times) = (Site::new(&Recipe::of("github")), Times::of_this_run());
    let (release, checksum) = release(&site);
    for program in ["ecr-broker", "docker-credential-ecr-broker"] {
        fs::remove_file(site.path("bin").join(program)).unwrap();
    }
    let runner = Runner::start(&site, times.life);
    let mut act = act(&site, "hosted.yml", times.seconds);
    for (name, value) in
        [("ECR_BROKER_ADDRESS", site.address()), ("BROKER_RELEASE", &release), ("BROKER_CHECKSUM", &checksum)]
    {
        act.args(["--var", &format!("{name}={value}")]);
    }
    act.env_remove("ECR_BROKER_ADDRESS");
    run(act, &runner);
    runner.assert_pushed_throughout(&site, "github");
}

/// Other jobs of the runner's user do not see the entry of this one.
#[test]
#[ignore = "needs act, crane, docker-registry and htpasswd, which .ci/tools installs"]
fn github_job_leaves_the_docker_configuration_of_its_runner_alone() {
    let site = Site::new(&Recipe::of("github"));
    let runner = Runner::start(&site, Times::of_this_run().life);
    let theirs = site.path("home/.docker");
    fs::create_dir_all(theirs.join("contexts")).unwrap();
    let file = r#"{"auths":{"registry.example":{"auth":"dXNlcjpwYXNzd29yZA=="}}}"#;
    fs::write(theirs.join("config.json"), file).unwrap();
    fs::write(
        site.path("repository/push.sh"),
        "#!/bin/sh\nset -e\ncat \"$DOCKER_CONFIG/config.json\" >\"$JOB_REPORT\"\n[ -d \"$DOCKER_CONFIG/contexts\" ]\n\
         crane push \"$JOB_IMAGE\" 123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app:v1\n",
    )
    .unwrap();
    run(act(&site, "self-hosted.yml", 0), &runner);
    let of_the_job = fs::read_to_string(site.path("report")).unwrap();
    assert!(of_the_job.contains("registry.example") && of_the_job.contains(PRIVATE), "{of_the_job}");
    assert_eq!(fs::read_to_string(theirs.join("config.json")).unwrap(), file);
    site.assert_no_denial();
}
