//! Settings of docker, podman and kubelet.

use super::*;

#[test]
fn tools_step_runs_after_any_failure() {
    let workspace = Workspace::new();
    let tools = |more: &dyn Fn(&mut Command)| {
        let mut command = workspace.command();
        command.args(["--address", "http://127.0.0.1:1", PRIVATE]);
        more(&mut command);
        let diagnosis = diagnose(&mut command);
        assert_eq!(diagnosis.ended.code, 5, "the first failure decides");
        diagnosis.step("tools")
    };
    assert!(tools(&|_| ()).starts_with("skip  tools       docker and podman have no credential file"));
    workspace.write("docker/config.json", r#"{"credHelpers":{"other.example":"ecr-broker"}}"#);
    let unnamed = tools(&|_| ());
    assert!(unnamed.starts_with("skip") && unnamed.contains(&format!("fix: ecr-broker configure docker {PRIVATE}")));
    let configured =
        program(&[]).args(["configure", "docker", PRIVATE]).env("DOCKER_CONFIG", workspace.path("docker")).output();
    assert!(configured.unwrap().status.success());
    assert!(tools(&|_| ()).starts_with("ok    tools"));
    let lost = tools(&|command| _ = command.env("PATH", "/nowhere"));
    assert!(
        lost.starts_with("FAIL")
            && lost.contains("credential helper is not in the PATH")
            && lost.contains("fix: install"),
        "{lost}"
    );
    workspace.write("docker/config.json", r#"{"credsStore":"ecr-broker"}"#);
    assert!(tools(&|_| ()).starts_with("ok    tools"));
    let podman = workspace.write("auth.json", "{}");
    let both = tools(&|command| _ = command.env("REGISTRY_AUTH_FILE", &podman));
    assert!(both.contains(&format!("ecr-broker configure podman {PRIVATE}")), "{both}");
    // podman reads a file of the login, then a permanent one.
    workspace.write("run/containers/auth.json", "{}");
    workspace.write(".config/containers/auth.json", &format!(r#"{{"credHelpers":{{"{PRIVATE}":"ecr-broker"}}}}"#));
    let runtime = |command: &mut Command| _ = command.env("XDG_RUNTIME_DIR", workspace.path("run"));
    let two = tools(&runtime);
    assert!(two.contains("run/containers/auth.json does not name it") && !two.contains("fix:"), "{two}");
    workspace.write(".config/containers/auth.json", "{}");
    let two = tools(&runtime);
    assert!(two.contains(&format!("fix: ecr-broker configure podman {PRIVATE}")), "{two}");
    fs::remove_dir_all(workspace.path(".config/containers")).unwrap();
    workspace.write("docker/config.json", "\"eyJsecret\"");
    let broken = tools(&|_| ());
    assert!(broken.contains("not a JSON object") && !broken.contains("eyJsecret"), "{broken}");
}

#[test]
fn helper_named_ecr_login_is_identified_by_its_program() {
    let workspace = Workspace::new();
    workspace.write("docker/config.json", &format!(r#"{{"credHelpers":{{"{PRIVATE}":"ecr-login"}}}}"#));
    let program = workspace.path("bin/docker-credential-ecr-login");
    fs::create_dir(workspace.path("bin")).unwrap();
    let tools = || {
        let mut command = workspace.command();
        command.env("PATH", workspace.path("bin")).args(["--address", "http://127.0.0.1:1", PRIVATE]);
        diagnose(&mut command).step("tools")
    };
    let missing = tools();
    assert!(
        missing.starts_with("FAIL") && missing.contains("is not in the PATH: docker-credential-ecr-login"),
        "{missing}"
    );
    for ours in [HELPER, PROGRAM] {
        std::os::unix::fs::symlink(ours, &program).unwrap();
        let linked = tools();
        assert!(linked.starts_with("ok ") && linked.contains("as docker-credential-ecr-login"), "{linked}");
        fs::remove_file(&program).unwrap();
    }
    workspace.write("bin/docker-credential-ecr-login", "#!/bin/sh\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let amazon_s = tools();
    assert!(amazon_s.starts_with("skip") && amazon_s.contains("is not the broker's helper"), "{amazon_s}");
    assert!(amazon_s.contains(&format!("fix: ecr-broker configure docker {PRIVATE}")), "{amazon_s}");
}
