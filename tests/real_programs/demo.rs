//! `examples/demo.sh`: a push and a pull through the simulated AWS.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use super::other::{run, succeed, text, tools};
use super::program::PROGRAM;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo.sh");

fn demo(directory: &Path, arguments: &[&str]) -> Command {
    // A shell cannot trap a signal that it inherits as ignored, as jobs in the background do.
    let mut demo = Command::new("/usr/bin/env");
    demo.args(["--default-signal=INT", DEMO])
        .args(arguments)
        .env_clear()
        .env("ECR_BROKER", PROGRAM)
        .env("HOME", directory)
        .env("TMPDIR", directory);
    demo.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools().join("bin").display()));
    demo
}

/// Returns the rest of the line that begins with a word.
fn value<'a>(shown: &'a str, word: &str) -> &'a str {
    let found = shown.lines().find_map(|line| line.strip_prefix(word));
    found.unwrap_or_else(|| panic!("no {word}: {shown}")).trim()
}

fn pulls_what_it_pushed(client: &str) {
    let directory = tempfile::tempdir().unwrap();
    let shown = succeed(&mut demo(directory.path(), &["--client", client]));
    let pushed = value(&shown, "pushed ");
    assert!(pushed.len() == "sha256:".len() + 64 && value(&shown, "pulled ") == pushed, "{shown}");
    // The registry refuses a pull without a token, and the broker a token for another account.
    assert!(shown.contains("accepts only tokens that the simulated AWS issued"), "{shown}");
    assert!(shown.contains("CALLER_NOT_ALLOWED: access denied: no grant allows this request"), "{shown}");
    assert!(value(&shown, "status page: ").starts_with("http://127.0.0.1:"), "{shown}");
    let calls = |line: &&str| line.contains("call_duration_seconds_count{") && line.contains("service=\"ecr\"");
    let calls: Vec<_> = shown.lines().filter(calls).collect();
    assert!(matches!(calls[..], [line] if line.ends_with(" 1")), "one call to AWS: {shown}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "nothing is left");
}

#[test]
#[ignore = "needs skopeo, which .ci/tools installs"]
fn demo_pulls_with_skopeo_what_it_pushed() {
    pulls_what_it_pushed("skopeo");
}

#[test]
#[ignore = "needs crane, which .ci/tools installs"]
fn demo_pulls_with_crane_what_it_pushed() {
    pulls_what_it_pushed("crane");
}

#[test]
#[ignore = "needs podman, which .ci/tools installs"]
fn demo_pulls_with_podman_what_it_pushed() {
    pulls_what_it_pushed("podman");
}

#[test]
#[ignore = "needs skopeo, which .ci/tools installs"]
fn demo_without_a_client_says_what_to_install() {
    let directory = tempfile::tempdir().unwrap();
    let ended = run(&mut demo(directory.path(), &["--client", "no-such-client"]));
    assert!(!ended.status.success() && text(&ended.stderr).contains("apt-get install skopeo"));
}

#[test]
#[ignore = "needs skopeo, which .ci/tools installs"]
fn demo_that_is_kept_ends_with_everything_on_ctrl_c() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = demo(directory.path(), &["--client", "skopeo", "--keep"]);
    // As a terminal does it: a process group, all of which gets the signal.
    let mut child = command.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (mut page, mut is_kept) = (None, false);
    for line in lines {
        page = page.or_else(|| line.strip_prefix("status page: http://").map(str::to_owned));
        if line == "# Ctrl-C ends the broker." {
            is_kept = true;
            assert!(TcpStream::connect(page.as_ref().unwrap().trim_end_matches("/status")).is_ok());
            kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
        }
    }
    assert!(is_kept, "it runs until then");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(TcpStream::connect(page.unwrap().trim_end_matches("/status")).is_err(), "the broker has ended");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "nothing is left");
}
