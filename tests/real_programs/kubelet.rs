//! Answers of the kubelet helper, parsed by kubelet's own types in strict mode.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::PRIVATE;
use super::other::{text, tool};
use super::program::{program, simulated_broker};

const TOKENS: [&str; 5] = ["configure", "kubelet", "--service-account-tokens", "ecr-broker", PRIVATE];

/// Runs a command with `request` on its stdin and returns its stdout if it succeeds.
fn run_with_stdin(command: &mut Command, request: &str) -> Option<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    output.status.success().then(|| text(&output.stdout))
}

#[test]
#[ignore = "needs a Go program over k8s.io/kubelet, which .ci/tools builds"]
fn kubelet_strict_decoder_accepts_the_helper_response() {
    let broker = simulated_broker(&[], &[]);
    let answer = |image: &str| {
        let request = format!(
            r#"{{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"{image}"}}"#
        );
        let mut helper = program(&[("ECR_BROKER_ADDRESS", &broker.address)]);
        run_with_stdin(helper.args(["helper", "kubelet"]), &request).unwrap()
    };
    let reader = || tool("bin/kubelet-decoder");
    let response = answer(&format!("{PRIVATE}/team/app"));
    let read: serde_json::Value = serde_json::from_str(&run_with_stdin(&mut reader(), &response).unwrap()).unwrap();
    assert_eq!((&read["cacheKeyType"], &read["auth"][PRIVATE]), (&"Registry".into(), &"AWS".into()));
    // refresh_after: one hour, with 10 % jitter either way.
    let duration = humantime::parse_duration(read["cacheDuration"].as_str().unwrap()).unwrap();
    assert!((53 * 60..=66 * 60).contains(&duration.as_secs()), "{duration:?}");
    let other: serde_json::Value =
        serde_json::from_str(&run_with_stdin(&mut reader(), &answer("ghcr.io/a")).unwrap()).unwrap();
    assert_eq!(other["cacheDuration"], "0s");
    // The decoder rejects unknown fields, as kubelet does.
    assert!(run_with_stdin(&mut reader(), &response.replacen('{', r#"{"more":1,"#, 1)).is_none());
    broker.stop();
}

#[test]
#[ignore = "needs a Go program over k8s.io/kubelet, which .ci/tools builds"]
fn kubelet_strict_decoder_accepts_the_printed_configurations() {
    let printed = |arguments: &[&str]| text(&program(&[]).args(arguments).output().unwrap().stdout);
    let decoded = |config: &str| run_with_stdin(&mut tool("bin/kubelet-decoder"), config);
    let provider = |config: &str| {
        let mut config: serde_json::Value = serde_json::from_str(&decoded(config).unwrap()).unwrap();
        config["providers"][0].take()
    };
    let plain = provider(&printed(&["configure", "kubelet"]));
    assert_eq!((&plain["name"], &plain["tokenAttributes"]), (&"ecr-broker".into(), &serde_json::Value::Null));
    let config = printed(&TOKENS);
    let attributes = serde_json::json!({
        "serviceAccountTokenAudience": "ecr-broker", "cacheType": "ServiceAccount", "requireServiceAccount": true,
    });
    assert_eq!(provider(&config)["tokenAttributes"], attributes);
    assert!(decoded(&config.replace("cacheType", "cachetype")).is_none(), "the decoder rejects unknown fields");
}
