//! Bearer tokens from `PyJWT` and jose, and `PyJWT`'s verdict on the invalid ones.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::cases::{AUDIENCE, ISSUER, SUBJECT, Signer, cases};
use super::other::{python, run, script, succeed, text, tool, tools};
use super::program::{Ended, Server};

const METHOD: &str = "ecrbroker.v1.RegistryCredentialsService/GetCallerIdentity";

fn broker(directory: &Path) -> Server {
    let config = directory.join("broker.toml");
    let jwks = directory.join("jwks.json");
    let text = format!(
        "[[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{}\"\n\
         [[grants]]\nid = \"runners\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\" }}]\nregistries = [{{ public = true }}]\n",
        jwks.display()
    );
    std::fs::write(&config, text).unwrap();
    Server::start(&["serve", "--simulate", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"], &[])
}

/// Sends each token with grpcurl: it is accepted, and with one changed character in its claims it is rejected.
fn assert_all_accepted(directory: &Path) {
    let broker = broker(directory);
    let address = broker.address.trim_start_matches("grpc://");
    let call = |token: &str| {
        let header = format!("authorization: Bearer {token}");
        run(tool("bin/grpcurl").args(["-plaintext", "-H", &header, address, METHOD]))
    };
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let token = std::fs::read_to_string(directory.join(format!("{algorithm}.jwt"))).unwrap();
        let answer = text(&call(&token).stdout);
        assert!(answer.contains(&format!("jwt:blue:{SUBJECT}")) && answer.contains("runners"), "{algorithm}: {answer}");
        let (head, rest) = token.split_once('.').unwrap();
        let (claims, signature) = rest.split_once('.').unwrap();
        let letter = if claims.as_bytes()[10] == b'A' { "B" } else { "A" };
        let changed = format!("{head}.{}{letter}{}.{signature}", &claims[..10], &claims[11..]);
        let refused = call(&changed);
        assert!(!refused.status.success() && text(&refused.stderr).contains("Unauthenticated"), "{algorithm}");
    }
}

#[test]
#[ignore = "needs PyJWT and grpcurl, which .ci/tools installs"]
fn tokens_of_pyjwt_are_accepted() {
    let directory = tempfile::tempdir().unwrap();
    succeed(python().arg(script("mint.py")).arg(directory.path()).args([ISSUER, AUDIENCE, SUBJECT]));
    assert_all_accepted(directory.path());
}

#[test]
#[ignore = "needs Node, jose and grpcurl, which .ci/tools installs"]
fn tokens_of_jose_are_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let jose = tools().join("node/node_modules/jose/dist/webapi/index.js");
    let mut node = Command::new("node");
    node.arg(script("mint.mjs")).arg(jose).arg(directory.path()).args([ISSUER, AUDIENCE, SUBJECT]);
    succeed(&mut node);
    assert_all_accepted(directory.path());
}

/// Cases that `PyJWT` accepts and the broker rejects. The broker accepts none that `PyJWT` rejects.
const STRICTER: [&str; 23] = [
    "padding of the signature",
    "too large",
    "zip",
    "jku",
    "jwk",
    "x5u",
    "x5c",
    "another typ",
    "one more audience",
    "the audience twice",
    "an empty subject",
    "a subject of two lines",
    "a subject of 513 bytes",
    "an expiry that is a text",
    "a lifetime of a year",
    "a lifetime of an hour and a second",
    "a time of issue that is a text",
    "issued long ago",
    "a time of validity that is a text",
    "two subjects",
    "two audiences",
    "two issuers",
    "two of another claim",
];

#[test]
#[ignore = "needs PyJWT, which .ci/tools installs"]
fn pyjwt_accepts_only_listed_tokens_that_the_broker_rejects() {
    let directory = tempfile::tempdir().unwrap();
    let (signer, other) = (Signer::new("k1"), Signer::new("k2"));
    let jwks = directory.path().join("jwks.json");
    std::fs::write(&jwks, signer.jwks()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "PyJWT uses the system clock")]
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let cases = cases(&signer, &other, now);
    let mut judge = python();
    judge.arg(script("judge.py")).arg(jwks).args([ISSUER, AUDIENCE]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut judge = judge.spawn().unwrap();
    let lines: String = cases.iter().map(|case| serde_json::to_string(&case.token).unwrap() + "\n").collect();
    judge.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let verdicts = text(&judge.wait_with_output().unwrap().stdout);
    assert_eq!(verdicts.lines().count(), cases.len(), "{verdicts}");
    let mut stricter = Vec::new();
    for (case, verdict) in cases.iter().zip(verdicts.lines()) {
        match (case.expected, verdict) {
            (Err(_), "ok") => stricter.push(case.name),
            (Ok(()), verdict) => assert_eq!(verdict, "ok", "{}", case.name),
            _ => {}
        }
    }
    assert_eq!(stricter, STRICTER);
}

/// A broker that grants the roles `runner-*` of an account, by tokens of this issuer. It knows the keys of another issuer, too.
fn broker_of_roles(directory: &Path, issuer: &str) -> Server {
    let (config, jwks) = (directory.join("broker.toml"), directory.join("jwks.json"));
    std::fs::write(&jwks, Signer::new("k1").jwks()).unwrap();
    let text = format!(
        "[[authentication.jwt]]\nname = \"aws\"\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\n\
         [[authentication.jwt]]\nname = \"global\"\nissuer = \"https://sts.amazonaws.com\"\naudience = \"{AUDIENCE}\"\n\
         jwks_file = \"{}\"\n\
         [[grants]]\nid = \"role\"\ncallers = [{{ jwt = \"aws\", subject = \"arn:aws:iam::210987654321:role/runner-*\" }}]\n\
         registries = [{{ public = true }}]\n\
         [[grants]]\nid = \"account\"\nregistries = [{{ public = true }}]\n\
         callers = [{{ jwt = \"aws\", claims = {{ \"https://sts.amazonaws.com/.aws_account\" = \"210987654321\" }} }}]\n",
        jwks.display()
    );
    std::fs::write(&config, text).unwrap();
    Server::start(&["serve", "--simulate", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"], &[])
}

/// Returns the keys of a session of a role, by the CLI.
fn session_of(aws: &str, role: &str) -> [String; 3] {
    let mut command = tool("venv/bin/aws");
    command.envs([("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example")]);
    command.args(["--endpoint-url", aws, "--region", "eu-central-1", "sts", "assume-role"]);
    let session = succeed(command.args(["--role-arn", role, "--role-session-name", "job"]));
    let session: serde_json::Value = serde_json::from_str(&session).unwrap();
    let key = |name: &str| session["Credentials"][name].as_str().unwrap().to_owned();
    ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(key)
}

const RUNNER: &str = "arn:aws:iam::210987654321:role/runner-7";
const KEY_NAMES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// A host without a secret: its role authenticates it. The CLI assumes the role and gets a token from STS, which the broker verifies.
#[test]
#[ignore = "needs the AWS CLI, which .ci/tools installs"]
fn role_authenticates_with_a_token_that_the_aws_cli_gets_from_sts() {
    let directory = tempfile::tempdir().unwrap();
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let broker = broker_of_roles(directory.path(), &aws.address);
    let keys = session_of(&aws.address, RUNNER);
    for algorithm in ["ES384", "RS256"] {
        let mut command = tool("venv/bin/aws");
        command.envs(KEY_NAMES.into_iter().zip(&keys));
        command.args(["--endpoint-url", &aws.address, "--region", "eu-central-1", "sts", "get-web-identity-token"]);
        let token = succeed(command.args(["--audience", AUDIENCE, "--signing-algorithm", algorithm]));
        let token: serde_json::Value = serde_json::from_str(&token).unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, token["WebIdentityToken"].as_str().unwrap()).unwrap();
        let arguments = ["whoami", "--address", &broker.address, "--token-file", file.to_str().unwrap()];
        let identity = super::program::run(&arguments, &[]).out();
        assert!(identity.contains(&format!("jwt:aws:{RUNNER}")), "{identity}");
        assert!(identity.contains("role, account"), "{identity}");
    }
}

/// Runs the client with the AWS CLI as its token source, against this STS.
fn with_aws_source(sts: &str, keys: &[String], arguments: &[&str]) -> Ended {
    let path = format!("{}:/usr/bin:/bin", tools().join("venv/bin").display());
    let mut command = super::program::program(&[("PATH", path.as_str()), ("AWS_REGION", "eu-central-1")]);
    command.envs(KEY_NAMES.into_iter().zip(keys)).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ENDPOINT_URL_STS", sts).env("AWS_CONFIG_FILE", "/dev/null");
    command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    Ended::of(command.args(arguments).args(["--token-source", "aws"]))
}

/// The client runs the CLI itself: the way of a host whose only identity is its role.
#[test]
#[ignore = "needs the AWS CLI, which .ci/tools installs"]
fn token_source_aws_gets_each_token_by_the_aws_cli() {
    let directory = tempfile::tempdir().unwrap();
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let broker = broker_of_roles(directory.path(), &aws.address);
    let whoami = ["whoami", "--address", &broker.address];
    let runner = session_of(&aws.address, RUNNER);
    let identity = with_aws_source(&aws.address, &runner, &whoami).out();
    assert!(identity.contains(&format!("jwt:aws:{RUNNER}")) && identity.contains("role, account"), "{identity}");
    let get = ["get", "public.ecr.aws", "-o", "json", "--address", &broker.address];
    let answer: serde_json::Value = serde_json::from_str(&with_aws_source(&aws.address, &runner, &get).out()).unwrap();
    assert_eq!(answer["registry"], "public.ecr.aws");
    let other = session_of(&aws.address, "arn:aws:iam::123456789012:role/runner-7");
    let denied = with_aws_source(&aws.address, &other, &get);
    assert_eq!(denied.code, 4, "{denied:?}");
    assert!(denied.error().contains("CALLER_NOT_ALLOWED"), "{denied:?}");
    let elsewhere = [&whoami[..], &["--audience", "another"]].concat();
    let refused = with_aws_source(&aws.address, &runner, &elsewhere);
    assert_eq!(refused.code, 4, "{refused:?}");
    let without_keys = with_aws_source(&aws.address, &[], &whoami);
    assert_ne!(without_keys.code, 0, "{without_keys:?}");
    for part in ["token_source aws: aws failed (exit status: ", "; the role needs sts:GetWebIdentityToken"] {
        assert!(without_keys.stderr.contains(part), "{without_keys:?}");
    }
}

/// ministack's tokens name an issuer that the broker knows, and are signed by HS256 with a secret.
#[test]
#[ignore = "needs the AWS CLI and ministack, which .ci/tools installs"]
fn token_that_ministack_signs_with_a_shared_secret_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let (ministack, broker) = (super::aws::ministack(), broker_of_roles(directory.path(), &aws.address));
    let keys = ["AKIAEXAMPLE", "example"].map(str::to_owned);
    let refused = with_aws_source(&ministack.url(), &keys, &["whoami", "--address", &broker.address]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.error().contains("CALLER_UNAUTHENTICATED"), "{refused:?}");
    let logs = broker.stop();
    assert!(logs.contains("algorithm"), "{logs}");
}
