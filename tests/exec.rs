//! `exec` and `login` with programs that record what they get.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use program::{Ended, Server, program, signal, simulated_broker};
use serde_json::{Value, json};

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const PUBLIC: &str = "public.ecr.aws";

/// The user's directories: a runtime directory, and a home with docker's configuration.
struct User {
    directory: tempfile::TempDir,
    broker: Server,
}

impl User {
    fn new(config: Option<Value>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("home/.docker/contexts/meta")).unwrap();
        fs::create_dir_all(directory.path().join("run")).unwrap();
        fs::create_dir_all(directory.path().join("bin")).unwrap();
        if let Some(config) = config {
            fs::write(directory.path().join("home/.docker/config.json"), config.to_string()).unwrap();
        }
        Self { directory, broker: simulated_broker(&[], &[]) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&[("ECR_BROKER_ADDRESS", &self.broker.address), ("ECR_BROKER_TIMEOUT", "60s")]);
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command
            .args(arguments)
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("PATH", path);
        command.env_remove("DOCKER_CONFIG").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs a line of shell under `exec`.
    fn shell(&self, flags: &[&str], line: &str) -> Ended {
        self.run(&[&["exec"], flags, &[PRIVATE, PUBLIC, "--", "sh", "-c", line]].concat())
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path("run")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn p10_exec_copies_the_configuration_and_writes_no_secret() {
    let user = User::new(Some(json!({
        "auths": { "ghcr.io": { "auth": "dXNlcjpzM2NyZXQ=" } }, "credHelpers": { PRIVATE: "ecr-login" }, "currentContext": "far",
    })));
    let line = "cat \"$DOCKER_CONFIG/config.json\"; ls -d \"$DOCKER_CONFIG/contexts/meta\" >&2; \
                find \"$XDG_RUNTIME_DIR\" -type f -exec stat -c '%a %n' {} + >&2; find \"$XDG_RUNTIME_DIR\" -type d -exec stat -c '%a' {} + >&2";
    let ended = user.shell(&[], line);
    assert_eq!(ended.code, 0, "{ended:?}");
    let config: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(config["currentContext"], "far");
    assert_eq!(config["auths"], json!({}));
    assert_eq!(config["credHelpers"], json!({ PRIVATE: "ecr-broker", PUBLIC: "ecr-broker", "ghcr.io": "ecr-broker" }));
    // One file, and directories of this user only.
    assert!(ended.stderr.contains("600 ") && ended.stderr.matches("config.json").count() == 1, "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().filter(|line| *line == "700").count(), 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("contexts/meta"), "{}", ended.stderr);
    assert_eq!(user.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn helper_of_exec_answers_for_ecr_and_for_the_users_other_registries() {
    let user = User::new(Some(json!({ "auths": { "ghcr.io": { "auth": "dXNlcjpzM2NyZXQ=" } } })));
    let line = format!(
        "for host in {PRIVATE} ghcr.io; do echo $host | docker-credential-ecr-broker get; done; readlink -f \"$(command -v docker-credential-ecr-broker)\" >&2"
    );
    let ended = user.shell(&[], &line);
    let entries: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries[0]["Username"], "AWS", "{ended:?}");
    assert_eq!((&entries[1]["Username"], &entries[1]["Secret"]), (&"user".into(), &"s3cret".into()));
    let helper = fs::canonicalize(program::PROGRAM).unwrap();
    assert_eq!(Path::new(ended.stderr.trim()), helper);
}

#[test]
fn flags_of_exec_reach_the_helper() {
    let user = User::new(None);
    let directory = tempfile::tempdir().unwrap();
    let address = user.broker.address.clone();
    let mut command = user.command(&["exec", "--address", &address, PRIVATE, "--", "sh", "-c"]);
    command.arg(format!("cd /; echo {PRIVATE} | docker-credential-ecr-broker get")).env_remove("ECR_BROKER_ADDRESS");
    let output = command.current_dir(directory.path()).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("AWS"), "{output:?}");
}

#[test]
fn static_entries_are_private_files_in_the_runtime_directory() {
    let user = User::new(Some(json!({ "credsStore": "secretservice" })));
    let line = "cat \"$DOCKER_CONFIG/config.json\"; stat -c '%a %n' \"$DOCKER_CONFIG/config.json\" >&2";
    let ended = user.shell(&["--static"], line);
    let config: Value = serde_json::from_str(&ended.stdout).unwrap();
    let auth = config["auths"][PRIVATE]["auth"].as_str().unwrap();
    assert!(data_encoding::BASE64.decode(auth.as_bytes()).unwrap().starts_with(b"AWS:"));
    assert_eq!((&config["credHelpers"][PRIVATE], &config["credsStore"]), (&"".into(), &"secretservice".into()));
    assert!(ended.stderr.starts_with(&format!("600 {}", user.path("run").display())), "{}", ended.stderr);
    assert_eq!(user.left_behind(), Vec::<PathBuf>::new());

    let without =
        user.command(&["exec", "--static", PRIVATE, "--", "true"]).env_remove("XDG_RUNTIME_DIR").output().unwrap();
    assert_eq!(without.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without.stderr).contains("set XDG_RUNTIME_DIR"), "{without:?}");
}

#[test]
fn directory_that_others_can_write_is_not_used() {
    let user = User::new(None);
    fs::set_permissions(user.path("run"), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = user.run(&["exec", "--static", PRIVATE, "--", "true"]);
    assert!(refused.code == 1 && refused.error().contains("only you can write"), "{refused:?}");
    let elsewhere = user.shell(&[], "echo $DOCKER_CONFIG");
    assert_eq!(elsewhere.code, 0, "{elsewhere:?}");
    assert!(!elsewhere.stdout.starts_with(user.path("run").to_str().unwrap()), "{}", elsewhere.stdout);
    // With the sticky bit every user keeps its own, as in /tmp.
    fs::set_permissions(user.path("run"), fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(user.run(&["exec", "--static", PRIVATE, "--", "true"]).code, 0);
}

#[test]
fn exit_code_of_exec_is_that_of_the_command() {
    let user = User::new(None);
    for (line, code) in [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        assert_eq!(user.shell(&[], line).code, code, "{line}");
    }
    let missing = user.run(&["exec", PRIVATE, "--", "no-such-program"]);
    assert_eq!(missing.code, 127);
    assert!(missing.error().contains("cannot run no-such-program"), "{}", missing.stderr);
    assert_eq!(user.run(&["exec", PRIVATE, "--", "/"]).code, 126);
    // The command does not run without its credentials.
    let ran = user.path("ran");
    let touch = ["--", "touch", ran.to_str().unwrap()];
    assert_eq!(user.run(&[&["exec", "ghcr.io"], &touch[..]].concat()).code, 3);
    assert_eq!(user.run(&["exec", PRIVATE]).code, 2);
    assert!(!ran.exists());
    assert_eq!(user.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn signals_reach_the_command_and_the_directory_is_removed() {
    let user = User::new(None);
    for (name, code) in [("TERM", 11), ("INT", 12), ("HUP", 13), ("QUIT", 14)] {
        let line = "trap 'exit 11' TERM; trap 'exit 12' INT; trap 'exit 13' HUP; trap 'exit 14' QUIT; echo ready; \
                    while :; do sleep 0.05; done";
        // Without a terminal, as in a CI job: setsid replaces itself by the program.
        let own = user.command(&["exec", PRIVATE, "--", "sh", "-c", line]);
        let mut session = Command::new("setsid");
        session.arg(own.get_program()).args(own.get_args()).stdin(Stdio::null()).stdout(Stdio::piped());
        for (name, value) in own.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let mut child = session.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(user.left_behind().len(), 1);
        signal(child.id(), name);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
        assert_eq!(user.left_behind(), Vec::<PathBuf>::new());
    }
}

#[test]
fn p10_login_passes_the_password_on_stdin_only() {
    let user = User::new(None);
    for (tool, words) in [("docker", "login"), ("podman", "login"), ("helm", "registry login")] {
        user.program(tool, "echo \"$@\"; env >&2; cat >\"$HOME/stdin\"; exit 7");
        let ended = user.run(&["login", tool, &format!("https://{PRIVATE}/team/app:v1"), "--", "--flag", "x"]);
        assert_eq!(ended.stdout, format!("{words} --username AWS --password-stdin --flag x {PRIVATE}\n"));
        assert_eq!(ended.code, 7);
        let password = fs::read_to_string(user.path("home/stdin")).unwrap();
        assert!(password.len() > 1500 && !password.contains('\n') && !ended.stderr.contains(&password));
    }
    // A tool that does not read its stdin.
    user.program("docker", "exit 3");
    assert_eq!(user.run(&["login", "docker", PUBLIC]).code, 3);
    assert_eq!(user.run(&["login", "docker", "ghcr.io"]).code, 3);
    fs::remove_file(user.path("bin/helm")).unwrap();
    let missing = user.run(&["login", "helm", PRIVATE]);
    assert_eq!(missing.code, 1);
    assert!(missing.error().contains("cannot run helm"), "{}", missing.stderr);
}
