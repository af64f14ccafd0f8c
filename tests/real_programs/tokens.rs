//! Bearer tokens from `PyJWT` and jose, and `PyJWT`'s verdict on the invalid ones.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::cases::{AUDIENCE, ISSUER, SUBJECT, Signer, cases};
use super::other::{python, run, script, succeed, text, tool, tools};
use super::program::Server;

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

/// A host without a secret: its role authenticates it. The CLI assumes the role and gets a token from STS, which the broker verifies.
#[test]
#[ignore = "needs the AWS CLI, which .ci/tools installs"]
fn role_authenticates_with_a_token_that_the_aws_cli_gets_from_sts() {
    let directory = tempfile::tempdir().unwrap();
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let config = directory.path().join("broker.toml");
    let text = format!(
        "[[authentication.jwt]]\nname = \"aws\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\n\
         [[grants]]\nid = \"role\"\ncallers = [{{ jwt = \"aws\", subject = \"arn:aws:iam::210987654321:role/runner-*\" }}]\n\
         registries = [{{ public = true }}]\n\
         [[grants]]\nid = \"account\"\nregistries = [{{ public = true }}]\n\
         callers = [{{ jwt = \"aws\", claims = {{ \"https://sts.amazonaws.com/.aws_account\" = \"210987654321\" }} }}]\n",
        aws.address
    );
    std::fs::write(&config, text).unwrap();
    let broker =
        Server::start(&["serve", "--simulate", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"], &[]);
    let cli = |keys: &[&str; 3], arguments: &[&str]| {
        let mut command = tool("venv/bin/aws");
        let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        command.envs(names.into_iter().zip(keys).filter(|(_, value)| !value.is_empty()));
        command.args(["--endpoint-url", &aws.address, "--region", "eu-central-1", "sts"]).args(arguments);
        serde_json::from_str::<serde_json::Value>(&succeed(&mut command)).unwrap()
    };
    let role = ["--role-arn", "arn:aws:iam::210987654321:role/runner-7", "--role-session-name", "job"];
    let session = cli(&["AKIAEXAMPLE", "example", ""], &[&["assume-role"], &role[..]].concat());
    let keys =
        ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(|name| session["Credentials"][name].as_str().unwrap());
    for algorithm in ["ES384", "RS256"] {
        let arguments = ["get-web-identity-token", "--audience", AUDIENCE, "--signing-algorithm", algorithm];
        let token = cli(&keys, &arguments)["WebIdentityToken"].as_str().unwrap().to_owned();
        let file = directory.path().join("token");
        std::fs::write(&file, token).unwrap();
        let arguments = ["whoami", "--address", &broker.address, "--token-file", file.to_str().unwrap()];
        let identity = super::program::run(&arguments, &[]).out();
        assert!(identity.contains("jwt:aws:arn:aws:iam::210987654321:role/runner-7"), "{identity}");
        assert!(identity.contains("role, account"), "{identity}");
    }
}
