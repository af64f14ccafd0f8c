//! The simulated registry: what a token may pull and push, and what it finds.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use ecr_broker::clock::Clock as _;
use ecr_broker::simulator::Answer;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::{Aws, ROLE, Request, Response, Stopped};

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A role session with a policy, a token of it, and a repository.
struct Sandbox {
    aws: Aws,
    token: String,
    key: String,
}

impl Sandbox {
    async fn with(answers: Vec<Answer>) -> Self {
        let aws = Aws::start().await;
        aws.controls.set_answers(answers);
        let created = aws.repository("CreateRepository", &json!({ "repositoryName": "team/app" })).send().await;
        assert_eq!(created.status, 200, "{}", created.text());
        let resource = "arn:aws:ecr:*:210987654321:repository/team/*";
        let statement = json!({ "Effect": "Allow", "Action": ["ecr:BatchGetImage"], "Resource": [resource] });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let form = [("RoleArn", ROLE), ("RoleSessionName", "job"), ("DurationSeconds", "900"), ("Policy", &policy)];
        let key = aws.sts("AssumeRole", &form).send().await.xml("AccessKeyId");
        let token = aws.ecr("eu-west-1", &json!({})).signed(&key, "eu-west-1", "ecr").send().await.entry();
        Self { token: token["authorizationToken"].as_str().unwrap().to_owned(), key, aws }
    }

    async fn status(&self, line: &str, host: &str) -> u16 {
        let mut request = self.aws.target("", &json!({}));
        request.line = format!("{line} HTTP/1.1");
        request.headers = vec![("authorization", format!("Basic {}", self.token))];
        let mut bytes = Vec::new();
        request.open_on(host).await.read_to_end(&mut bytes).await.unwrap();
        Response::parse(&bytes).status
    }

    async fn pull(&self) -> u16 {
        self.status("GET /v2/team/app/manifests/none", "aws").await
    }

    async fn push(&self) -> u16 {
        self.status("POST /v2/team/app/blobs/uploads/", "aws").await
    }
}

impl Aws {
    fn repository(&self, operation: &str, body: &Value) -> Request<'_> {
        let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
        self.target(&target, body).signed("AKIDEXAMPLE", "eu-west-1", "ecr")
    }
}

#[tokio::test]
async fn registry_narrows_a_token_by_its_session_policy() {
    let sandbox = Sandbox::with(Vec::new()).await;
    assert_eq!((sandbox.pull().await, sandbox.push().await), (404, 403));
    assert_eq!(sandbox.status("GET /v2/other/app/manifests/none", "aws").await, 403);
    sandbox.aws.controls.set_answers(vec![Answer::PolicyIgnored]);
    assert_eq!((sandbox.pull().await, sandbox.push().await), (404, 202));
}

#[tokio::test]
async fn registry_accepts_a_token_after_its_session_ended() {
    let sandbox = Sandbox::with(Vec::new()).await;
    let now = ecr_broker::clock::SystemClock::new().now();
    sandbox.aws.controls.set_clock(Arc::new(Stopped(now.after(Duration::from_secs(901)))));
    let identity = sandbox.aws.sts("GetCallerIdentity", &[]).signed(&sandbox.key, "us-east-1", "sts").send().await;
    identity.is_xml_error(403, "ExpiredToken");
    assert_eq!(sandbox.pull().await, 404);
    sandbox.aws.controls.set_answers(vec![Answer::TokenEndsWithSession]);
    assert_eq!(sandbox.pull().await, 403);
}

#[tokio::test]
async fn repository_policy_revokes_tokens_by_issue_time() {
    let sandbox = Sandbox::with(Vec::new()).await;
    let condition = json!({ "DateLessThan": { "aws:TokenIssueTime": "2100-01-01T00:00:00Z" } });
    let statement =
        json!({ "Effect": "Deny", "Principal": "*", "Action": ["ecr:BatchGetImage"], "Condition": condition });
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let input = json!({ "repositoryName": "team/app", "policyText": policy });
    assert_eq!(sandbox.aws.repository("SetRepositoryPolicy", &input).send().await.status, 200);
    assert_eq!(sandbox.pull().await, 403);
    sandbox.aws.controls.set_answers(vec![Answer::RevocationIgnored]);
    assert_eq!(sandbox.pull().await, 404);
}

#[tokio::test]
async fn registry_hosts_of_each_kind_have_their_switch() {
    let sandbox = Sandbox::with(Vec::new()).await;
    let hosts = ["dkr.ecr", "dkr.ecr-fips", "dkr-ecr", "dkr-ecr-fips"].map(|kind| format!("1.{kind}.eu-west-1.x"));
    for (answers, expected) in [
        (vec![], [200, 200, 200, 200]),
        (vec![Answer::NoFips], [200, 403, 200, 403]),
        (vec![Answer::NoDualStack], [200, 200, 403, 403]),
    ] {
        sandbox.aws.controls.set_answers(answers);
        for (host, expected) in hosts.iter().zip(expected) {
            assert_eq!(sandbox.status("GET /v2/", host).await, expected, "{host}");
        }
    }
}

/// A token of the one user, and requests to the registry by it.
struct Docker {
    aws: Aws,
    token: String,
}

impl Docker {
    async fn start() -> Self {
        let aws = Aws::start().await;
        let entry = aws.ecr("eu-west-1", &json!({ "registryIds": ["123456789012"] })).send().await.entry();
        Self { token: entry["authorizationToken"].as_str().unwrap().to_owned(), aws }
    }

    async fn send(&self, line: &str, host: &str, body: &[u8]) -> Response {
        let headers = vec![("authorization", format!("Basic {}", self.token)), ("content-type", MANIFEST.to_owned())];
        let request = Request { aws: &self.aws, line: format!("{line} HTTP/1.1"), headers, body: body.to_owned() };
        let mut bytes = Vec::new();
        request.open_on(host).await.read_to_end(&mut bytes).await.unwrap();
        Response::parse(&bytes)
    }

    /// Pushes a blob in two parts.
    async fn push(&self, repository: &str, blob: &[u8]) -> Response {
        let started = self.send(&format!("POST /v2/{repository}/blobs/uploads/"), HOST, b"").await;
        let upload = started.header("location").unwrap().to_owned();
        let (first, second) = blob.split_at(1);
        let part = self.send(&format!("PATCH {upload}"), HOST, first).await;
        assert_eq!((part.status, part.header("range")), (202, Some("0-0")));
        self.send(&format!("PUT {upload}?digest={}", digest(blob).replace(':', "%3A")), HOST, second).await
    }
}

fn digest(content: &[u8]) -> String {
    use sha2::Digest as _;
    format!("sha256:{}", data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(content)))
}

#[tokio::test]
async fn registry_returns_what_a_token_pushed() {
    let docker = Docker::start().await;
    let (blob, manifest) = (b"a layer", b"{\"layers\":[]}");
    let pushed = docker.push("team/app", blob).await;
    assert_eq!((pushed.status, pushed.header("docker-content-digest")), (201, Some(digest(blob).as_str())));
    assert_eq!(docker.aws.controls.repositories(), ["team/app"], "the push created it");
    assert_eq!(docker.send("PUT /v2/team/app/manifests/v1", HOST, manifest).await.status, 201);

    for reference in ["v1", &digest(manifest)] {
        let line = format!("/v2/team/app/manifests/{reference}");
        let pulled = docker.send(&format!("GET {line}"), HOST, b"").await;
        assert_eq!((pulled.body.as_slice(), pulled.header("content-type")), (&manifest[..], Some(MANIFEST)));
        let head = docker.send(&format!("HEAD {line}"), HOST, b"").await;
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("13"), 0));
    }
    let pulled = docker.send(&format!("GET /v2/team/app/blobs/{}", digest(blob)), HOST, b"").await;
    assert_eq!((pulled.status, pulled.body.as_slice()), (200, &blob[..]));
    let tags = docker.send("GET /v2/team/app/tags/list", HOST, b"").await;
    assert_eq!(tags.text(), r#"{"name":"team/app","tags":["v1"]}"#);

    let input = json!({ "repositoryName": "team/app" });
    assert_eq!(docker.aws.repository("DeleteRepository", &input).send().await.status, 200);
    assert_eq!(docker.send("GET /v2/team/app/manifests/v1", HOST, b"").await.status, 404);
    assert_eq!(docker.push("team/app", blob).await.status, 201);
    assert_eq!(docker.send("GET /v2/team/app/manifests/v1", HOST, b"").await.status, 404, "created again, and empty");
}

/// A client pushes the layers of an image at a time. With two locks for "is it there?" and "create it", some of them were refused.
#[tokio::test(flavor = "multi_thread")]
async fn layers_pushed_at_a_time_to_a_new_repository_are_accepted() {
    let docker = Docker::start().await;
    for number in 0..100 {
        let line = format!("POST /v2/team/app{number}/blobs/uploads/");
        let layer = async || docker.send(&line, HOST, b"").await.status;
        let started = tokio::join!(layer(), layer(), layer(), layer());
        assert_eq!(started, (202, 202, 202, 202), "{line}");
    }
}

#[tokio::test]
async fn registry_refuses_tokens_of_others_and_after_their_end() {
    let mut docker = Docker::start().await;
    assert_eq!(docker.send("GET /v2/", HOST, b"").await.status, 200);
    // As a client behind an HTTP proxy sends it.
    let absolute = docker.send(&format!("GET http://{HOST}/v2/"), "127.0.0.1", b"").await;
    assert_eq!(absolute.status, 200);
    for other in [HOST.replace("1234", "4321"), HOST.replace("west", "north"), "public.ecr.aws".to_owned()] {
        assert_eq!(docker.send("GET /v2/", &other, b"").await.status, 403, "{other}");
        assert_eq!(docker.send(&format!("GET http://{other}/v2/"), HOST, b"").await.status, 403, "{other}");
    }
    assert_eq!(docker.send("GET /v2/", "localhost:4599", b"").await.status, 200, "an alias");
    let now = ecr_broker::clock::SystemClock::new().now();
    docker.aws.controls.set_clock(Arc::new(Stopped(now.after(Duration::from_hours(12)))));
    assert_eq!(docker.send("GET /v2/", HOST, b"").await.status, 403);
    docker.token = BASE64.encode(b"AWS:password");
    let refused = docker.send("GET /v2/", HOST, b"").await;
    let challenge = format!("basic realm=\"https://{HOST}/\",service=\"ecr.amazonaws.com\"");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some(challenge.as_str())));
}

#[tokio::test]
async fn registry_refuses_operations_that_it_does_not_have() {
    let docker = Docker::start().await;
    docker.push("team/app", b"a layer").await;
    for line in ["DELETE /v2/team/app/manifests/v1", "PATCH /v2/team/app/manifests/v1", "POST /v2/", "GET /v2/_catalog"]
    {
        assert_eq!(docker.send(line, HOST, b"").await.status, 404, "{line}");
    }
    assert_eq!(docker.send("GET /v2/team/other/tags/list", HOST, b"").await.status, 404);
    assert_eq!(docker.send("POST /v2/Team/blobs/uploads/", HOST, b"").await.status, 400, "not a name");
}

#[tokio::test]
async fn repository_is_deleted_unless_that_is_denied() {
    let sandbox = Sandbox::with(vec![Answer::DeleteDenied]).await;
    let input = json!({ "repositoryName": "team/app" });
    let delete = || sandbox.aws.repository("DeleteRepository", &input).send();
    delete().await.is_json_error(400, "AccessDeniedException");
    assert_eq!(sandbox.aws.controls.repositories(), ["team/app"]);
    sandbox.aws.controls.set_answers(Vec::new());
    assert_eq!(delete().await.status, 200);
    delete().await.is_json_error(400, "RepositoryNotFoundException");
    assert!(sandbox.aws.controls.repositories().is_empty());
    assert_eq!(sandbox.aws.controls.calls(), 1, "only tokens count");
}
