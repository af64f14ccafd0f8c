//! kubelet's own types and its own strict reader, over what the helper answers.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::PRIVATE;
use super::other::{text, tool};
use super::program::{program, simulated_broker};

/// Runs a command with this on its stdin; what it says, where it ends well.
fn ask(command: &mut Command, question: &str) -> Option<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(question.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    output.status.success().then(|| text(&output.stdout))
}

#[test]
#[ignore = "needs a Go program over k8s.io/kubelet, which .ci/tools builds"]
fn kubelet_s_own_strict_reader_takes_what_the_helper_answers() {
    let broker = simulated_broker(&[], &[]);
    let answer = |image: &str| {
        let request = format!(
            r#"{{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"{image}"}}"#
        );
        let mut helper = program(&[("ECR_BROKER_ADDRESS", &broker.address)]);
        ask(helper.args(["helper", "kubelet"]), &request).unwrap()
    };
    let reader = || tool("bin/kubelet-response");
    let response = answer(&format!("{PRIVATE}/team/app"));
    let read: serde_json::Value = serde_json::from_str(&ask(&mut reader(), &response).unwrap()).unwrap();
    assert_eq!((&read["cacheKeyType"], &read["auth"][PRIVATE]), (&"Registry".into(), &"AWS".into()));
    // An hour and a tenth of it more or less, as the broker would have it asked again.
    let duration = humantime::parse_duration(read["cacheDuration"].as_str().unwrap()).unwrap();
    assert!((53 * 60..=66 * 60).contains(&duration.as_secs()), "{duration:?}");
    let other: serde_json::Value = serde_json::from_str(&ask(&mut reader(), &answer("ghcr.io/a")).unwrap()).unwrap();
    assert_eq!(other["cacheDuration"], "0s");
    // It is as strict as kubelet.
    assert!(ask(&mut reader(), &response.replacen('{', r#"{"more":1,"#, 1)).is_none());
    broker.stop();
}
