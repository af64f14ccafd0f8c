//! `prove` against moto, an emulator without registries: nothing is proven there, and nothing is left behind.

use serde_json::Value;

use super::aws::moto;
use super::other::{Foreign, succeed, tool};
use super::program::{Ended, run};

const REGION: &str = "eu-central-1";
const SECRET: &str = "secret-key-of-the-operator-0123456789abcd";
const ROLE: &str = "arn:aws:iam::123456789012:role/sandbox";
/// moto's token, and its password alone.
const TOKENS: [&str; 2] = ["auth-token", "YXV0aC10b2tlb"];
const CHECKED: [&str; 9] = [
    "endpoint-plain",
    "endpoint-fips",
    "endpoint-dual-stack",
    "endpoint-fips-dual-stack",
    "narrowed-push",
    "session-end",
    "revocation",
    "bearer-token",
    "bearer-narrowed",
];

fn prove(moto: &Foreign, arguments: &[&str]) -> Ended {
    let environment = [
        ("AWS_ENDPOINT_URL", &*moto.url()),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let ended = run(&[&["prove"], arguments].concat(), &environment);
    for secret in TOKENS.into_iter().chain([SECRET]) {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{ended:?}");
    }
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    ended
}

/// Returns the names of moto's repositories, by AWS's own client.
fn repositories(moto: &Foreign) -> Value {
    let mut command = tool("venv/bin/aws");
    command.envs([("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example")]);
    command.args(["--endpoint-url", &moto.url(), "--region", REGION, "--output", "json", "ecr"]);
    command.args(["describe-repositories", "--query", "repositories[].repositoryName"]);
    serde_json::from_str(&succeed(&mut command)).unwrap()
}

fn steps(outcome: &Value) -> Vec<(&str, &str)> {
    let steps = outcome["steps"].as_array().unwrap().iter();
    steps.map(|step| (step["did"].as_str().unwrap(), step["answer"].as_str().unwrap())).collect()
}

#[test]
#[ignore = "needs moto_server and the AWS CLI, which .ci/tools installs"]
fn prove_skips_what_moto_cannot_show_and_leaves_nothing_there() {
    let moto = moto();
    assert_eq!(repositories(&moto), serde_json::json!([]));
    for (arguments, sandboxed) in [(&[][..], 0), (&["--account-sandbox", "--role", ROLE][..], 4)] {
        let ended = prove(&moto, &[arguments, &["-o", "json"]].concat());
        let objects: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (cleanup, outcomes) = objects.split_last().unwrap();
        let of = |result: &str| -> Vec<&str> {
            let of_result = outcomes.iter().filter(|outcome| outcome["result"] == result);
            of_result.map(|outcome| outcome["check"].as_str().unwrap()).collect()
        };
        assert_eq!(of("skipped"), CHECKED, "{ended:?}");
        assert_eq!(CHECKED.len() + of("manual").len(), outcomes.len(), "nothing is proven or refuted: {ended:?}");
        for outcome in &outcomes[..4] {
            // moto's tokens expired in 2015, so that no registry is asked.
            assert_eq!(outcome["reason"], "AWS did not do what the check needs", "{outcome}");
            assert_eq!(steps(outcome), [("ask STS who calls", "ok"), ("request a token", "InvalidResponse")]);
        }
        let created = outcomes
            .iter()
            .flat_map(steps)
            .filter(|(did, answer)| did.starts_with("create repository ecr-broker-prove/") && *answer == "ok");
        assert_eq!(
            (created.count(), cleanup["removed"].as_array().unwrap().len()),
            (sandboxed, sandboxed),
            "{ended:?}"
        );
        assert_eq!((&cleanup["left"], repositories(&moto)), (&serde_json::json!([]), serde_json::json!([])));
        let reason = |check: usize| outcomes[check]["reason"].as_str().unwrap();
        match sandboxed {
            0 => assert_eq!([reason(4), reason(6)], ["needs --role: a role that may pull and push"; 2]),
            _ => assert_eq!(reason(5), "needs --session-end: it takes 16 minutes"),
        }
    }
    let text = prove(&moto, &["--account-sandbox", "--role", ROLE]).stdout;
    for check in CHECKED {
        assert!(text.contains(&format!("\nskipped {check:<16}")) || text.starts_with(&format!("skipped {check:<16}")));
    }
    assert!(text.ends_with("4 repositories removed, 0 left\n"), "{text}");
    assert_eq!(repositories(&moto), serde_json::json!([]));
}
