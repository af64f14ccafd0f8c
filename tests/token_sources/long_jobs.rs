//! Jobs that go on after their tokens ended.
//!
//! The broker tolerates 30 s of clock difference. So a token that ended 27 s ago is accepted for 3 s more, and a client cannot cache it.

use std::process::Command;
use std::sync::Arc;

use crate::endpoint::{Endpoint, PROOF};
use crate::job::{Job, PRIVATE, token};
use crate::program::Following;

/// A token that the broker accepts for 3 s.
const SHORT: i64 = -27;
/// Hook that prints a line after each change of the file.
const NOTE: &str = "echo changed >&2";

fn runner(job: &Job) -> (Endpoint, impl Fn(&mut Command) + use<>) {
    let signer = Arc::clone(&job.signer);
    let endpoint = Endpoint::start(move || token(&signer, SHORT));
    let url = endpoint.url.clone();
    let set = move |command: &mut Command| {
        command.envs([("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", PROOF)]);
        command.env("ECR_BROKER_TOKEN_SOURCE", "github");
    };
    (endpoint, set)
}

#[test]
fn sync_goes_on_after_its_token_ended() {
    let job = Job::new("6s");
    let (endpoint, as_runner) = runner(&job);
    let docker = job.text("docker");
    let mut command = job.command(&["sync", PRIVATE, "--docker-config", &docker, "--on-change", NOTE], &[]);
    as_runner(&mut command);
    let mut sync = Following::start(command);
    for _ in 0..4 {
        sync.until(|line| {
            assert!(!line.contains("expired") && !line.contains("UNAUTHENTICATED"), "{line}");
            (line == "changed").then_some(())
        });
    }
    // Each watch had its own token, and ended with it.
    assert!(endpoint.paths().len() >= 3, "{:?}", endpoint.paths());
    assert!(sync.end("TERM").success());
}

#[test]
fn helper_under_exec_asks_for_each_token() {
    let job = Job::new("12h");
    let (endpoint, as_runner) = runner(&job);
    let get = format!("echo {PRIVATE} | docker-credential-ecr-broker get >/dev/null");
    crate::program::copy_to(job.path("bin/docker-credential-ecr-broker"));
    let mut command = job.command(&["exec", PRIVATE, "--", "sh", "-c", &format!("{get} && {get} && {get}")], &[]);
    as_runner(&mut command);
    let ended = crate::program::Ended::of(&mut command);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(endpoint.paths().len() >= 3, "{:?}", endpoint.paths());
}
