//! Grants and aliases: printed grants are sufficient and valid.

use super::*;

#[test]
fn printed_grant_is_sufficient_for_the_caller() {
    let workspace = Workspace::new();
    let others = "[[grants]]\nid = \"others\"\ncallers = [{ uid = 4242 }]\nregistries = [{ public = true }]";
    let registry_server = Registry::answering(&["200 OK"]);
    for registry in [PRIVATE, PUBLIC] {
        let with_url = [registry, "--registry-url", &registry_server.url];
        let (address, broker) = workspace.broker(others);
        let diagnosis = workspace.doctor(&address, &with_url);
        diagnosis.fails_at("grant", 4, &["CALLER_NOT_ALLOWED", "[[grants]]", "effect = \"deny\""]);
        assert!(diagnosis.step("caller").contains("grants: none for this caller"), "{diagnosis:?}");
        let step = diagnosis.step("grant");
        let block = step.lines().filter(|line| line.starts_with("           ")).collect::<Vec<_>>().join("\n");
        let explain = step.split("which grant decides: ").nth(1).unwrap().lines().next().unwrap();
        broker.stop();

        let (address, broker) = workspace.broker(&format!("{others}\n{block}"));
        let diagnosis = workspace.doctor(&address, &with_url);
        assert_eq!(diagnosis.ended.code, 0, "{}\n{block}", diagnosis.ended.stdout);
        // The printed command works for the operator.
        let config = workspace.path("broker.toml");
        let explain = explain.replace("FILE", config.to_str().unwrap());
        let explain: Vec<_> = explain.split(' ').skip(1).collect();
        assert!(run(&explain, &[]).out().contains("allowed by grant \"uid-"), "{explain:?}");
        broker.stop();
    }
    let config = workspace.write("loopback.toml", "grants = []\n");
    let broker = Server::start(&["serve", "--simulate", "--config", &config, "--listen", "127.0.0.1:0"], &[]);
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE, "--profile", "pull"]);
    diagnosis.fails_at(
        "grant",
        4,
        &[
            "fix: request another profile, or none: \"pull\" comes from --profile\n      fix: or, if the broker has a profile",
            "callers = [{ loopback = true }]",
            "profile = \"pull\"",
        ],
    );
}

#[test]
fn printed_grants_fit_into_one_configuration() {
    let workspace = Workspace::new();
    let others = "[[profiles]]\nname = \"pull\"\nrole_chain = [\"arn:aws:iam::123456789012:role/x\"]\n[[grants]]\nid = \"others\"\ncallers = [{ uid = 4242 }]\nregistries = [{ public = true }]";
    let (address, _broker) = workspace.broker(others);
    let (near, far) = ("210987654321.dkr.ecr.eu-central-1.amazonaws.com", PRIVATE.replace("eu-central-1", "us-east-1"));
    let mut blocks = Vec::new();
    for arguments in [&[PRIVATE][..], &[PRIVATE, "--profile", "pull"], &[&far], &[near], &[PUBLIC]] {
        let step = workspace.doctor(&address, arguments).step("grant");
        blocks.extend(step.lines().filter(|line| line.starts_with("           ")).map(str::to_owned));
    }
    let config = workspace.write("all.toml", &format!("{others}\n{}\n", blocks.join("\n")));
    assert_eq!(blocks.iter().filter(|line| line.contains("[[grants]]")).count(), 5);
    let checked = run(&["config", "check", "--config", &config], &[]);
    assert!(checked.code == 0 && checked.stdout.contains("is valid"), "{checked:?}");
}

#[test]
fn alias_fixes_name_no_unknown_host() {
    const ALIAS: &str = "registry.corp.example";
    let workspace = Workspace::new();
    let config = workspace.write("aliases.toml", &format!("[aliases]\n\"{ALIAS}\" = \"{PRIVATE}\"\n"));
    let broker = |fault: &str| simulated_broker(&["--config", &config, "--simulate-fault", fault], &[]);
    workspace.write("docker/config.json", &format!(r#"{{"credHelpers":{{"{ALIAS}":"ecr-broker"}}}}"#));
    for (fault, code, words) in [
        ("server-error=1", 5, ["AWS_UNAVAILABLE", "[aliases]"]),
        ("denied=1", 4, ["ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken"]),
    ] {
        let diagnosis = workspace.doctor(&broker(fault).address, &[ALIAS]);
        diagnosis.fails_at("AWS", code, &words);
        assert!(!diagnosis.ended.stdout.contains("amazonaws.com"), "{diagnosis:?}");
        assert!(diagnosis.step("tools").starts_with("ok "), "{diagnosis:?}");
    }
    workspace.write("docker/config.json", "{}");
    let diagnosis = workspace.doctor(&broker("denied=1").address, &[ALIAS]);
    assert!(
        diagnosis.step("tools").contains(&format!("[aliases]: ecr-broker configure docker {ALIAS}")),
        "{diagnosis:?}"
    );
    let (address, _broker) = workspace.broker(&format!("grants = []\naliases = {{ \"{ALIAS}\" = \"{PRIVATE}\" }}"));
    let diagnosis = workspace.doctor(&address, &[ALIAS]);
    diagnosis.fails_at("grant", 4, &["the registry behind this name in [aliases]", "which grant decides"]);
}

#[test]
fn other_registry_fails_with_the_exit_code_of_get() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    for (registry, reason) in
        [("ghcr.io", "REGISTRY_NOT_ECR"), ("12345.dkr.ecr.eu-central-1.amazonaws.com", "REGISTRY_INVALID")]
    {
        workspace.doctor(&broker.address, &[registry]).fails_at("grant", 3, &[reason, "name the registry as AWS does"]);
    }
}
