//! AWS's own tools against the simulated AWS, and the broker against independent emulators of AWS.

use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use super::PRIVATE;
use super::other::{Foreign, python, script, succeed, tool};
use super::program::{Ended, Server, run};

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example")];

fn broker_on(environment: &[(&str, &str)]) -> Server {
    let elsewhere = [("AWS_REGION", "eu-central-1"), ("AWS_EC2_METADATA_DISABLED", "true")];
    Server::start(&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"], &[&elsewhere, environment].concat())
}

fn get(broker: &Server, registry: &str) -> Ended {
    run(&["get", registry, "-o", "json", "--timeout", "20s", "--address", &broker.address], &[])
}

pub(crate) fn moto() -> Foreign {
    let mut moto = tool("venv/bin/moto_server");
    Foreign::start(moto.args(["-H", "127.0.0.1", "-p", "0"]), "Running on http://127.0.0.1:")
}

pub(crate) fn ministack() -> Foreign {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut ministack: Command = tool("venv/bin/ministack");
    // Its own account is 000000000000, whose credentials the broker does not take for another account's.
    ministack.env("MINISTACK_ACCOUNT_ID", &PRIVATE[..12]);
    ministack.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
    Foreign::start(&mut ministack, "Running on http://127.0.0.1:")
}

#[test]
#[ignore = "needs the AWS CLI and boto3, which .ci/tools installs"]
fn aws_cli_and_boto3_work_with_the_simulated_aws() {
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    succeed(python().arg(script("aws_tools.py")).arg(&aws.address));
}

/// moto's tokens expired in 2015.
#[test]
#[ignore = "needs moto_server, which .ci/tools installs"]
fn p12_expired_token_from_moto_is_rejected() {
    let moto = moto();
    let broker = broker_on(&[&KEYS[..], &[("AWS_ENDPOINT_URL", &moto.url())]].concat());
    let ended = get(&broker, PRIVATE);
    assert_eq!((ended.code, ended.stdout.as_str()), (5, ""), "{}", ended.stderr);
    assert!(ended.error().contains("AWS_RESPONSE_INVALID"), "{}", ended.stderr);
    let logs = broker.stop();
    assert!(logs.contains("the authorization token has expired; check this machine's clock"), "{logs}");
}

/// The broker has no keys. It can only use the session that moto's STS gives for the token in the file.
#[test]
#[ignore = "needs moto_server, which .ci/tools installs"]
fn web_identity_assumes_a_role_at_moto_sts() {
    let (moto, aws) = (moto(), Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]));
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "eyJhbGciOiJub25lIn0.eyJzdWIiOiJydW5uZXIifQ.c2ln").unwrap();
    let identity = [
        ("AWS_ROLE_ARN", "arn:aws:iam::210987654321:role/broker"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap()),
        ("AWS_ENDPOINT_URL_ECR", &aws.address),
    ];
    for sts in ["AWS_ENDPOINT_URL_STS", "ECR_BROKER_AWS_STS_ENDPOINT"] {
        let broker = broker_on(&[&identity[..], &[(sts, &moto.url())]].concat());
        let answer: Value = serde_json::from_str(&get(&broker, PRIVATE).out()).unwrap();
        assert_eq!(answer["registry"], PRIVATE, "{sts}");
    }
    let nowhere = broker_on(&[&identity[..], &[("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")]].concat());
    assert!(get(&nowhere, PRIVATE).error().contains("AWS_UNAVAILABLE"));
}

/// The broker calls ECR with the session that moto gives for the second role.
#[test]
#[ignore = "needs moto_server, which .ci/tools installs"]
fn role_chain_of_a_profile_is_assumed_at_moto_sts() {
    let (moto, aws) = (moto(), Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]));
    let file = tempfile::NamedTempFile::new().unwrap();
    let profile = "[[profiles]]\nname = \"ci-pull\"\nexternal_id = \"farm\"\naccess = \"pull\"\nrepositories = [\"team-a/*\"]\n\
        pull_through = [\"hub/*\"]\nsession_tags = { by = \"text:broker\" }\ntransitive = [\"by\"]\n\
        role_chain = [\"arn:aws:iam::210987654321:role/hub\", \"arn:{partition}:iam::{account}:role/ecr-pull\"]\n";
    std::fs::write(file.path(), profile).unwrap();
    let environment = [
        ("ECR_BROKER_CONFIG", file.path().to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", &moto.url()),
        ("AWS_ENDPOINT_URL_ECR", &aws.address),
    ];
    let broker = broker_on(&[&KEYS[..], &environment].concat());
    let get =
        |profile: &str| run(&["get", PRIVATE, "-o", "json", "--profile", profile, "--address", &broker.address], &[]);
    let minted: Value = serde_json::from_str(&get("ci-pull").out()).unwrap();
    let own: Value = serde_json::from_str(&get("default").out()).unwrap();
    assert_eq!((&minted["profile"], &minted["cache_status"]), (&"ci-pull".into(), &"MISS".into()));
    assert_ne!(minted["credential_id"], own["credential_id"], "a credential never crosses profiles");
    assert!(get("no-such").error().contains("PROFILE_UNKNOWN"));
}

#[test]
#[ignore = "needs ministack, which .ci/tools installs"]
fn ministack_ecr_gives_credentials_for_twelve_hours() {
    let ministack = ministack();
    let broker = broker_on(&[&KEYS[..], &[("AWS_ENDPOINT_URL", &ministack.url())]].concat());
    let answer: Value = serde_json::from_str(&get(&broker, PRIVATE).out()).unwrap();
    let time = |field: &str| humantime::parse_rfc3339(answer[field].as_str().unwrap()).unwrap();
    let lifetime = time("expire_time").duration_since(time("issue_time")).unwrap();
    assert!((43_100..=43_200).contains(&lifetime.as_secs()), "{lifetime:?}");
    assert_eq!((&answer["username"], &answer["cache_status"]), (&"AWS".into(), &"MISS".into()));
    let other = PRIVATE.replace("123456789012", "210987654321");
    assert!(get(&broker, &other).error().contains("AWS_RESPONSE_INVALID"));
    // ministack has no ECR Public, and rejects the call with a status and no error code.
    let public = get(&broker, "public.ecr.aws");
    assert_eq!(public.code, 5, "{}", public.stderr);
}
