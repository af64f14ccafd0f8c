//! Files of docker and podman, as the helper and other programs read and write them.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::PRIVATE;
use super::other::{run, succeed, text, tool};
use super::program::PROGRAM;

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
const HOST: &str = "registry.example";

/// The username for the host by skopeo, which fails without an entry.
fn by_skopeo(file: &Path) -> Option<String> {
    let output = run(Command::new("skopeo").args(["login", "--get-login", HOST, "--authfile"]).arg(file));
    output.status.success().then(|| text(&output.stdout).trim().to_owned())
}

/// The username for the host by crane; `None` if the file has no entry.
fn by_crane(file: &Path) -> Option<String> {
    let mut crane = tool("bin/crane");
    let directory = file.parent().unwrap();
    crane.args(["auth", "get", HOST]).env("HOME", directory).env("DOCKER_CONFIG", directory);
    let output = run(&mut crane);
    let entry: Value = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())?;
    entry["Username"].as_str().map(str::to_owned).filter(|username| !username.is_empty())
}

/// The username for the host by the helper, with the file as `next`, and the helper's note.
fn by_helper(file: &Path) -> (Option<String>, String) {
    let mut helper = Command::new(PROGRAM);
    helper.args(["helper", "docker", "get", "--address", "unix:/dev/null", "--next"]).arg(file).env_clear();
    let streams = helper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().unwrap();
    child.stdin.take().unwrap().write_all(HOST.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let entry = serde_json::from_slice::<Value>(&output.stdout).ok().filter(|_| output.status.success());
    (entry.map(|entry| entry["Username"].as_str().unwrap().to_owned()), text(&output.stderr))
}

#[test]
#[ignore = "needs skopeo and crane, which .ci/tools installs"]
fn auth_field_is_read_as_skopeo_and_crane_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    for auth in [
        "dXNlcjpzM2NyZXQ=",
        "dXNlcjpz\nM2NyZXQ=\n",
        "dXNlcjpz\r\nM2NyZXQ=",
        "dXNlcjpzM2NyZXR=",
        "dXNl\ncjpzM2NyZXQ\n=",
        "dXNlcjpzM2NyZXQ",
        " dXNlcjpzM2NyZXQ=",
        "dXNlcjpzM2NyZXQ=dXNl",
        "dXNlcjpzM2NyZX-_",
        "dXNlcg==",
    ] {
        fs::write(&file, json!({ "auths": { HOST: { "auth": auth } } }).to_string()).unwrap();
        let (found, note) = by_helper(&file);
        assert_eq!(found, by_skopeo(&file), "skopeo: {auth:?}");
        assert_eq!(found, by_crane(&file), "crane: {auth:?}");
        assert_eq!(found.is_none(), note.contains("is not base64 of USERNAME:PASSWORD"), "{auth:?}: {note}");
    }
}

/// A file that is a mount, as `docker run -v FILE:FILE` and a `subPath` make it.
#[test]
#[ignore = "needs root and unshare"]
fn file_that_is_a_mount_point_is_refused_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "set -eu; cd {}; echo '{{}}' >real.json; echo '{{}}' >config.json; mount --bind real.json config.json\n\
         {PROGRAM} configure docker {PRIVATE} --file $PWD/config.json 2>&1 || echo failed\n\
         mkdir ro; echo '{{}}' >ro/config.json; mount --bind ro ro; mount -o remount,bind,ro ro\n\
         {PROGRAM} configure docker {PRIVATE} --file $PWD/ro/config.json 2>&1 || echo failed\n\
         cat real.json; ls",
        directory.path().display()
    );
    let out = succeed(Command::new("unshare").args(["--mount", "bash", "-c", &script]));
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].contains("is a mount point and cannot be replaced; mount its directory instead"), "{out}");
    assert!(lines[2].contains("the file system is read-only; name a file in a writable directory"), "{out}");
    assert_eq!([lines[1], lines[3], lines[4]], ["failed", "failed", "{}"]);
    assert!(!out.contains("config.json.new"), "{out}");
}

/// Amazon's helper has no credentials here, so its `get` fails. It writes the reason to a log file instead of stderr.
#[test]
#[ignore = "needs docker-credential-ecr-login, which .ci/tools installs"]
fn failed_get_has_the_form_of_amazons_helper() {
    let home = tempfile::tempdir().unwrap();
    let run = |command: &mut Command, action: &str| {
        command.arg(action).env_clear().env("HOME", home.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("ECR_BROKER_ADDRESS", "unix:/dev/null").env("AWS_ECR_DISABLE_CACHE", "true");
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = streams.spawn().unwrap();
        // `-v` exits without reading its stdin.
        _ = child.stdin.take().unwrap().write_all(PRIVATE.as_bytes());
        let output = child.wait_with_output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let amazons = || tool("bin/docker-credential-ecr-login");
    let (code, stdout, stderr) = run(&mut Command::new(HELPER), "get");
    let (amazons_code, amazons_stdout, _) = run(&mut amazons(), "get");
    assert_eq!((code, stdout), (amazons_code, amazons_stdout));
    assert!(stderr.contains("no broker answers") && stderr.lines().count() == 1, "{stderr}");
    for mut helper in [Command::new(HELPER), amazons()] {
        let (code, version, _) = run(&mut helper, "-v");
        assert!(code == Some(0) && !version.is_empty(), "{version}");
    }
}
