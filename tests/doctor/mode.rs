//! The switch-over from another helper: the mode, the canary hosts and the fallback.

use super::*;

/// Runs `doctor` with this `client.toml`, and a PATH with a directory of the workspace.
fn doctor(workspace: &Workspace, client: &str, arguments: &[&str]) -> (Diagnosis, String) {
    let file = workspace.write(".config/ecr-broker/client.toml", client);
    let mut command = workspace.command();
    let path = format!("{}:/usr/bin:/bin", workspace.path("bin").display());
    command.env("PATH", path).args(arguments);
    (diagnose(&mut command), file)
}

/// Puts a program into the PATH, with these permissions.
fn install(workspace: &Workspace, name: &str, mode: u32) -> String {
    let program = workspace.write(&format!("bin/{name}"), "#!/bin/sh\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    program
}

#[test]
fn mode_step_names_mode_origin_and_fallback() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let program = install(&workspace, "docker-credential-real", 0o755);
    let address = ["--address", &broker.address];
    let (plain, _) = doctor(&workspace, "", &address);
    assert_eq!(plain.step("mode"), "ok    mode        full (default): the broker answers");
    let client = "fallback = \"docker-credential-real\"\nmode = \"shadow\"\n";
    let (shadow, file) = doctor(&workspace, client, &address);
    let step = shadow.step("mode");
    let head = format!("ok    mode        shadow ({file}): the fallback answers, and the broker is asked beside it\n");
    assert!(step.starts_with(&head), "{step}");
    let found = format!("      fallback of docker docker-credential-real ({file}): {program} can be run\n");
    assert!(step.contains(&found), "{step}");
    let rest = "mode shadow does not apply to kubelet and Bazel: without a fallback the broker answers";
    assert!(step.contains(rest), "{step}");
    assert_eq!(shadow.ended.code, 0, "{shadow:?}");
    let (full, file) = doctor(&workspace, "fallback = \"docker-credential-real\"\nmode = \"full\"\n", &address);
    let head = format!("full ({file}): the broker answers, and the fallback after no-broker, timeout");
    assert!(full.step("mode").contains(&head), "{full:?}");
}

/// `adopt report` names the percentage from which on this host is a canary; doctor must agree on both sides of it.
#[test]
fn mode_step_agrees_with_the_report_about_the_canary() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    install(&workspace, "docker-credential-real", 0o755);
    let report = run(&["adopt", "report"], &[("HOME", workspace.path("").to_str().unwrap())]).stdout;
    let from = report.rsplit_once("canary_percent = ").unwrap().1.split_whitespace().next().unwrap();
    let from: u8 = from.parse().unwrap();
    for (percent, answers, part) in [(from, "broker", "is a canary"), (from - 1, "fallback", "is not a canary")] {
        let client = format!("fallback = \"docker-credential-real\"\nmode = \"canary\"\ncanary_percent = {percent}\n");
        let (diagnosis, file) = doctor(&workspace, &client, &["--address", &broker.address]);
        let step = diagnosis.step("mode");
        assert!(step.starts_with(&format!("ok    mode        canary ({file}): on this host the {answers} answers")));
        let note = format!("canary_percent {percent} ({file}): this host {part}; it is one from {from} on");
        assert!(step.contains(&note), "{step}");
    }
}

#[test]
fn fallback_that_cannot_be_run_fails_the_mode_step_only() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let program = install(&workspace, "docker-credential-plain", 0o644);
    let missing = workspace.path("no-such").to_str().unwrap().to_owned();
    for (fallback, facts, fix) in [
        ("docker-credential-gone", "is not a program in the PATH", "fix: install docker-credential-gone, or correct"),
        // A search of the PATH passes over what is not executable, as execvp does.
        ("docker-credential-plain", "is not a program in the PATH", "fix: install docker-credential-plain, or correct"),
        (&program, "is not executable", &*format!("fix: chmod +x {program}")),
        (&missing, "does not exist", &*format!("fix: install {missing}, or correct fallback in ")),
    ] {
        let client = format!("mode = \"shadow\"\nfallback = \"{fallback} get\"\n");
        let (diagnosis, file) = doctor(&workspace, &client, &["--address", &broker.address]);
        let step = diagnosis.step("mode");
        let head = format!("fallback program cannot be run: {fallback}, fallback of docker ({file}), {facts}\n");
        assert!(step.starts_with(&format!("FAIL  mode        {head}")), "{step}");
        assert!(step.contains(fix) && step.contains(&format!("mode shadow ({file}): ")), "{step}");
        let failed: Vec<_> = diagnosis.states().into_iter().filter(|(_, state)| *state != "ok").collect();
        assert_eq!((failed, diagnosis.ended.code), (vec![("mode", "FAIL")], 1), "{diagnosis:?}");
    }
}

/// A helper's fallback answers then, too.
#[test]
fn mode_is_named_despite_a_mistake_in_the_settings() {
    let workspace = Workspace::new();
    install(&workspace, "docker-credential-real", 0o755);
    let client = "adress = 1\nmode = \"shadow\"\nfallback = \"docker-credential-real\"\n";
    let (diagnosis, file) = doctor(&workspace, client, &[PRIVATE]);
    diagnosis.fails_at("settings", 1, &["adress"]);
    assert!(diagnosis.step("mode").starts_with(&format!("ok    mode        shadow ({file}): the fallback answers")));
}
