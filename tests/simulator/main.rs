//! The simulated AWS: responses, errors and faults of ECR, ECR Public and STS.
#![cfg(feature = "simulator")]
#![allow(clippy::unwrap_used, clippy::format_collect, reason = "a test may")]

mod registry;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use ecr_broker::clock::Clock;
use ecr_broker::moment::Moment;
use ecr_broker::simulator::{Answer, Controls, Fault, FaultRate, Service, Settings, Simulator};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const ECR: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
const ECR_PUBLIC: &str = "SpencerFrontendService.GetAuthorizationToken";
const ROLE: &str = "arn:aws:iam::210987654321:role/team/puller";

/// A simulator that serves until this value is dropped.
struct Aws {
    controls: Controls,
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

struct Response {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

/// A request; its constructors sign it unless they say otherwise.
struct Request<'a> {
    aws: &'a Aws,
    line: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

#[derive(Debug)]
struct Stopped(Moment);

impl Clock for Stopped {
    fn now(&self) -> Moment {
        self.0
    }
}

impl Aws {
    async fn start() -> Self {
        let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), Settings::default()).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let (controls, address) = (simulator.controls(), simulator.address());
        let served = tokio::spawn(simulator.run_until(async {
            let _ = stopped.await;
        }));
        Self { controls, address, stop, served }
    }

    async fn failing(fault: Fault) -> Self {
        let aws = Self::start().await;
        aws.controls.set_faults(vec![FaultRate { fault, rate: 1.0 }]);
        aws
    }

    fn target(&self, target: &str, body: &Value) -> Request<'_> {
        let headers =
            vec![("content-type", "application/x-amz-json-1.1".to_owned()), ("x-amz-target", target.to_owned())];
        Request { aws: self, line: "POST / HTTP/1.1".into(), headers, body: body.to_string().into_bytes() }
    }

    fn ecr(&self, region: &str, body: &Value) -> Request<'_> {
        self.target(ECR, body).signed("AKIDEXAMPLE", region, "ecr")
    }

    fn public(&self, region: &str) -> Request<'_> {
        self.target(ECR_PUBLIC, &json!({})).signed("AKIDEXAMPLE", region, "ecr-public")
    }

    /// Returns an unsigned request.
    fn form(&self, action: &str, parameters: &[(&str, &str)]) -> Request<'_> {
        let headers = vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8".to_owned())];
        let body = form(action, parameters).into_bytes();
        Request { aws: self, line: "POST / HTTP/1.1".into(), headers, body }
    }

    fn sts(&self, action: &str, parameters: &[(&str, &str)]) -> Request<'_> {
        self.form(action, parameters).signed("AKIDEXAMPLE", "us-east-1", "sts")
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
    }
}

fn form(action: &str, parameters: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pairs = parameters.iter().map(|(name, value)| format!("&{name}={}", escaped(value)));
    format!("Action={action}&Version=2011-06-15{}", pairs.collect::<String>())
}

impl Request<'_> {
    fn signed(mut self, key: &str, region: &str, service: &str) -> Self {
        let scope = format!("{key}/20261123/{region}/{service}/aws4_request");
        let signature = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature=00");
        self.headers.retain(|(name, _)| *name != "authorization");
        self.headers.push(("authorization", signature));
        self
    }

    async fn open(self) -> TcpStream {
        self.open_on("aws").await
    }

    async fn open_on(self, host: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.aws.address).await.unwrap();
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
        let length = self.body.len();
        let head =
            format!("{}\r\nhost: {host}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n", self.line);
        stream.write_all(&[head.as_bytes(), &self.body].concat()).await.unwrap();
        stream
    }

    async fn send(self) -> Response {
        let mut bytes = Vec::new();
        self.open().await.read_to_end(&mut bytes).await.unwrap();
        Response::parse(&bytes)
    }
}

impl Response {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let headers = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns the text of the first element of this name.
    fn xml(&self, name: &str) -> String {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {text}"));
        rest.split_once(&format!("</{name}>")).unwrap().0.to_owned()
    }

    fn entry(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["authorizationData"][0].clone()
    }

    #[track_caller]
    fn is_json_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.json()["__type"].as_str().unwrap()), (status, code));
        assert_eq!(self.header("x-amzn-errortype"), Some(code.to_lowercase().as_str()));
        assert_eq!(self.header("content-type"), Some("application/x-amz-json-1.1"));
        assert!(self.json()["message"].is_string());
        assert!(self.header("x-amzn-requestid").is_some());
    }

    #[track_caller]
    fn is_xml_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.xml("Code").as_str()), (status, code));
        assert!(self.text().starts_with("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>"));
        assert_eq!(self.xml("Type"), if status < 500 { "Sender" } else { "Receiver" });
        assert_eq!(self.header("x-amzn-requestid"), Some(self.xml("RequestId").as_str()));
    }
}

fn password(entry: &Value) -> String {
    let token = BASE64.decode(entry["authorizationToken"].as_str().unwrap().as_bytes()).unwrap();
    String::from_utf8(token).unwrap().strip_prefix("AWS:").unwrap().to_owned()
}

#[tokio::test]
async fn ecr_returns_one_entry_for_the_callers_account() {
    let aws = Aws::start().await;
    let response = aws.ecr("eu-central-1", &json!({})).send().await;
    assert_eq!(response.entry()["proxyEndpoint"], "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com");
    assert_eq!(response.json()["authorizationData"].as_array().unwrap().len(), 1);
    assert_eq!(response.header("content-type"), Some("application/x-amz-json-1.1"));
    assert_eq!(response.header("x-amzn-requestid").unwrap().len(), 36);
}

#[tokio::test]
async fn ecr_treats_an_empty_body_as_an_empty_object() {
    let aws = Aws::start().await;
    let mut request = aws.ecr("eu-central-1", &json!({}));
    request.body.clear();
    assert!(request.send().await.entry()["authorizationToken"].is_string());
}

#[tokio::test]
async fn every_partition_has_its_own_registry_suffix() {
    let aws = Aws::start().await;
    for (region, suffix) in [
        ("us-gov-west-1", "amazonaws.com"),
        ("cn-north-1", "amazonaws.com.cn"),
        ("eusc-de-east-1", "amazonaws.eu"),
        ("us-iso-east-1", "c2s.ic.gov"),
    ] {
        let entry = aws.ecr(region, &json!({})).send().await.entry();
        assert_eq!(entry["proxyEndpoint"], format!("https://123456789012.dkr.ecr.{region}.{suffix}"));
    }
}

#[tokio::test]
async fn expiry_has_milliseconds_and_follows_the_set_clock() {
    let aws = Aws::start().await;
    let wall = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_346_855_432_987);
    aws.controls.set_clock(Arc::new(Stopped(Moment { wall, steady: Duration::ZERO })));
    let text = aws.ecr("eu-central-1", &json!({})).send().await.text();
    assert!(text.contains("\"expiresAt\":1795390055.432,"), "{text}");
    aws.controls.set_token_lifetime(Duration::from_mins(1));
    let entry = aws.ecr("eu-central-1", &json!({})).send().await.entry();
    assert_eq!(entry["expiresAt"].as_f64(), Some(1_795_346_915.432));
}

#[tokio::test]
async fn longest_lifetime_gives_a_valid_expiry() {
    let aws = Aws::start().await;
    aws.controls.set_token_lifetime(Duration::MAX);
    assert!(aws.ecr("eu-central-1", &json!({})).send().await.entry()["expiresAt"].as_f64().unwrap() > 4e9);
}

#[tokio::test]
async fn one_to_ten_registry_ids_get_one_entry_each() {
    let aws = Aws::start().await;
    let ids: Vec<String> = (0..10).map(|id| format!("{id:012}")).collect();
    let response = aws.ecr("eu-west-1", &json!({ "registryIds": ids })).send().await.json();
    let entries = response["authorizationData"].as_array().unwrap().clone();
    assert_eq!(entries.len(), 10);
    for (entry, id) in entries.iter().zip(ids) {
        assert_eq!(entry["proxyEndpoint"], format!("https://{id}.dkr.ecr.eu-west-1.amazonaws.com"));
    }
}

#[tokio::test]
async fn other_registry_ids_are_invalid_parameters() {
    let aws = Aws::start().await;
    for ids in [json!([]), json!(["1"]), json!(["12345678901x"]), json!(vec!["123456789012"; 11])] {
        let response = aws.ecr("eu-west-1", &json!({ "registryIds": ids })).send().await;
        response.is_json_error(400, "InvalidParameterException");
    }
}

#[tokio::test]
async fn invalid_json_is_a_serialization_error() {
    let aws = Aws::start().await;
    for body in ["{", "17", "{\"registryIds\":7}", "{\"registryIds\":[123456789012]}", "\u{0}"] {
        let mut request = aws.ecr("eu-west-1", &json!({}));
        request.body = body.into();
        request.send().await.is_json_error(400, "SerializationException");
    }
}

#[tokio::test]
async fn ecr_public_returns_an_object_without_an_endpoint() {
    let aws = Aws::start().await;
    for region in ["us-east-1", "us-west-2"] {
        let data = aws.public(region).send().await.json()["authorizationData"].clone();
        assert!(password(&data).len() > 1000 && data["expiresAt"].is_f64());
        assert!(data.get("proxyEndpoint").is_none());
    }
}

#[tokio::test]
async fn ecr_public_is_available_in_two_regions_only() {
    let aws = Aws::start().await;
    aws.public("eu-central-1").send().await.is_json_error(400, "UnsupportedCommandException");
}

#[tokio::test]
async fn unknown_operations_are_not_found() {
    let aws = Aws::start().await;
    for target in ["AmazonEC2ContainerRegistry_V20150921.PutImage", "GetAuthorizationToken", ""] {
        aws.target(target, &json!({})).send().await.is_json_error(404, "UnknownOperationException");
    }
    for line in ["GET / HTTP/1.1", "PUT / HTTP/1.1", "POST /somewhere HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        let mut request = aws.ecr("eu-west-1", &json!({}));
        request.line = line.to_owned();
        request.send().await.is_json_error(404, "UnknownOperationException");
    }
}

#[tokio::test]
async fn unsigned_call_is_rejected_and_not_counted() {
    let aws = Aws::start().await;
    for target in [ECR, ECR_PUBLIC] {
        aws.target(target, &json!({})).send().await.is_json_error(403, "MissingAuthenticationTokenException");
    }
    aws.form("GetCallerIdentity", &[]).send().await.is_xml_error(403, "MissingAuthenticationToken");
    assert_eq!(aws.controls.calls(), 0);
}

#[tokio::test]
async fn signature_for_another_service_or_region_is_rejected() {
    let aws = Aws::start().await;
    for (region, service) in [("us-east-1", "ecr-public"), ("us-east-1", "sts"), ("mars", "ecr"), ("", "ecr")] {
        let request = aws.target(ECR, &json!({})).signed("AKID", region, service);
        request.send().await.is_json_error(403, "InvalidSignatureException");
    }
    let request = aws.sts("GetCallerIdentity", &[]).signed("AKID", "us-east-1", "ecr");
    request.send().await.is_xml_error(403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn malformed_signature_is_incomplete() {
    let aws = Aws::start().await;
    for header in ["Bearer x", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=/", "AWS4-HMAC-SHA256 Signature=00"] {
        let mut request = aws.target(ECR, &json!({}));
        request.headers.push(("authorization", header.to_owned()));
        request.send().await.is_json_error(403, "IncompleteSignatureException");
    }
}

#[tokio::test]
async fn tokens_have_the_real_shape_and_size_and_a_simulated_note() {
    let aws = Aws::start().await;
    for _ in 0..50 {
        let entry = aws.ecr("eu-central-1", &json!({})).send().await.entry();
        let token = entry["authorizationToken"].as_str().unwrap();
        assert!((2048..=5120).contains(&token.len()), "{}", token.len());
        let decoded: Value = serde_json::from_slice(&BASE64.decode(password(&entry).as_bytes()).unwrap()).unwrap();
        assert_eq!((&decoded["version"], &decoded["type"]), (&json!("2"), &json!("DATA_KEY")));
        assert_eq!(decoded["expiration"].as_f64(), entry["expiresAt"].as_f64().map(f64::floor));
        assert!(decoded["payload"].is_string() && decoded["datakey"].is_string());
        assert_eq!(decoded["simulated"], "by ecr-broker, opens nothing");
    }
}

#[tokio::test]
async fn no_two_tokens_share_the_72_bytes_that_bcrypt_compares() {
    let aws = Aws::start().await;
    let ids = vec!["123456789012"; 10];
    let response = aws.ecr("eu-central-1", &json!({ "registryIds": ids })).send().await.json();
    let entries = response["authorizationData"].as_array().unwrap();
    let mut starts: Vec<String> = entries.iter().map(|entry| password(entry)[..72].to_owned()).collect();
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), 10);
}

#[tokio::test]
async fn get_caller_identity_returns_the_user() {
    let aws = Aws::start().await;
    let response = aws.sts("GetCallerIdentity", &[]).send().await;
    assert!(
        response.text().starts_with("<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">")
    );
    assert_eq!(response.xml("Account"), "123456789012");
    assert_eq!(response.xml("Arn"), "arn:aws:iam::123456789012:user/simulated");
    assert_eq!(response.xml("UserId").len(), 21);
    assert_eq!(response.header("x-amzn-requestid"), Some(response.xml("RequestId").as_str()));
    let china = aws.sts("GetCallerIdentity", &[]).signed("AKID", "cn-north-1", "sts").send().await;
    assert_eq!(china.xml("Arn"), "arn:aws-cn:iam::123456789012:user/simulated");
}

#[tokio::test]
async fn presigned_get_is_accepted() {
    let aws = Aws::start().await;
    let mut request = aws.form("", &[]);
    let credential = ("X-Amz-Credential", "AKID/20261123/us-east-1/sts/aws4_request");
    request.line = format!("GET /?{} HTTP/1.1", form("GetCallerIdentity", &[credential]));
    assert_eq!(request.send().await.xml("Account"), "123456789012");
}

#[tokio::test]
async fn credentials_of_an_assumed_role_identify_its_session() {
    let aws = Aws::start().await;
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_346_855);
    aws.controls.set_clock(Arc::new(Stopped(Moment { wall, steady: Duration::ZERO })));
    let role = [("RoleArn", ROLE), ("RoleSessionName", "me@work"), ("DurationSeconds", "900")];
    let response = aws.sts("AssumeRole", &role).send().await;
    let session = "arn:aws:sts::210987654321:assumed-role/puller/me@work";
    assert_eq!(response.xml("Arn"), session);
    assert_eq!(response.xml("Expiration"), "2026-11-22T11:42:35Z");
    assert!(!response.xml("SessionToken").is_empty() && response.xml("SecretAccessKey").len() == 40);
    let key = response.xml("AccessKeyId");
    assert!(key.starts_with("ASIA") && key.len() == 20, "{key}");

    let identity = aws.sts("GetCallerIdentity", &[]).signed(&key, "eu-west-1", "sts").send().await;
    assert_eq!((identity.xml("Account").as_str(), identity.xml("Arn").as_str()), ("210987654321", session));
    assert_eq!(identity.xml("UserId"), response.xml("AssumedRoleId"));

    let entry = aws.ecr("eu-west-1", &json!({})).signed(&key, "eu-west-1", "ecr").send().await.entry();
    assert_eq!(entry["proxyEndpoint"], "https://210987654321.dkr.ecr.eu-west-1.amazonaws.com");

    let role = [("RoleArn", ROLE), ("RoleSessionName", "again"), ("DurationSeconds", "3601")];
    let chained = aws.sts("AssumeRole", &role).signed(&key, "eu-west-1", "sts").send().await;
    chained.is_xml_error(400, "ValidationError");
}

#[tokio::test]
async fn web_identity_assumes_a_role_without_a_signature() {
    let aws = Aws::start().await;
    let claims = data_encoding::BASE64URL_NOPAD.encode(br#"{"sub":"system:serviceaccount:<a>&b","aud":["sts"]}"#);
    let token = format!("h.{claims}.s");
    let role = [("RoleArn", ROLE), ("RoleSessionName", "pod"), ("WebIdentityToken", &token)];
    let response = aws.form("AssumeRoleWithWebIdentity", &role).send().await;
    assert_eq!(response.xml("Arn"), "arn:aws:sts::210987654321:assumed-role/puller/pod");
    assert_eq!(response.xml("SubjectFromWebIdentityToken"), "system:serviceaccount:&lt;a&gt;&amp;b");
    let request = aws.ecr("eu-west-1", &json!({})).signed(&response.xml("AccessKeyId"), "eu-west-1", "ecr");
    let entry = request.send().await.entry();
    assert_eq!(entry["proxyEndpoint"], "https://210987654321.dkr.ecr.eu-west-1.amazonaws.com");

    let opaque = [("RoleArn", ROLE), ("RoleSessionName", "pod"), ("WebIdentityToken", "a.b")];
    aws.form("AssumeRoleWithWebIdentity", &opaque).send().await.is_xml_error(400, "InvalidIdentityToken");
    aws.form("AssumeRoleWithWebIdentity", &opaque[..2]).send().await.is_xml_error(400, "ValidationError");
}

#[tokio::test]
async fn assume_role_rejects_invalid_parameters() {
    let aws = Aws::start().await;
    let long_policy = format!("{{\"Statement\":\"{}\"}}", "x".repeat(2048));
    let good = [("RoleArn", ROLE), ("RoleSessionName", "me")];
    for (parameter, value, code) in [
        ("RoleArn", "", "ValidationError"),
        ("RoleArn", "puller", "ValidationError"),
        ("RoleArn", "arn:aws:iam::210987654321:user/puller", "ValidationError"),
        ("RoleArn", "arn:aws:iam::21098765432:role/puller", "ValidationError"),
        ("RoleArn", "arn:nowhere:iam::210987654321:role/puller", "ValidationError"),
        ("RoleArn", "arn:aws:iam::210987654321:role/", "ValidationError"),
        ("RoleArn", "arn:aws:iam::210987654321:roles/puller", "ValidationError"),
        ("RoleSessionName", "m", "ValidationError"),
        ("RoleSessionName", "me & <you>", "ValidationError"),
        ("DurationSeconds", "899", "ValidationError"),
        ("DurationSeconds", "43201", "ValidationError"),
        ("DurationSeconds", "an hour", "ValidationError"),
        ("Policy", &long_policy, "ValidationError"),
        ("Policy", "allow me", "MalformedPolicyDocument"),
    ] {
        let others = good.into_iter().filter(|(name, _)| *name != parameter);
        let parameters: Vec<_> = others.chain([(parameter, value)]).collect();
        aws.sts("AssumeRole", &parameters).send().await.is_xml_error(400, code);
    }
    for only in good {
        aws.sts("AssumeRole", &[only]).send().await.is_xml_error(400, "ValidationError");
    }
}

#[tokio::test]
async fn source_identity_passes_to_chained_sessions_unchanged() {
    let aws = Aws::start().await;
    let role = [("RoleArn", ROLE), ("RoleSessionName", "me")];
    let with = |name: &'static str| [role[0], role[1], ("SourceIdentity", name)];
    for wrong in ["a", "a b", "aws:me", "a:b"] {
        aws.sts("AssumeRole", &with(wrong)).send().await.is_xml_error(400, "ValidationError");
    }
    let first = aws.sts("AssumeRole", &with("alice")).send().await;
    assert_eq!(first.xml("SourceIdentity"), "alice");
    let key = first.xml("AccessKeyId");
    let from_it =
        async |form: &[(&str, &str)]| aws.sts("AssumeRole", form).signed(&key, "eu-west-1", "sts").send().await;
    assert_eq!(from_it(&role).await.xml("SourceIdentity"), "alice");
    assert_eq!(from_it(&with("alice")).await.xml("SourceIdentity"), "alice");
    from_it(&with("mallory")).await.is_xml_error(403, "AccessDenied");
}

/// A role, and tags of which the first is transitive.
const TAGGED: [(&str, &str); 7] = [
    ("RoleArn", ROLE),
    ("RoleSessionName", "me"),
    ("Tags.member.1.Key", "team"),
    ("Tags.member.1.Value", "a"),
    ("Tags.member.2.Key", "repo"),
    ("Tags.member.2.Value", "org/app"),
    ("TransitiveTagKeys.member.1", "team"),
];

#[tokio::test]
async fn only_transitive_tags_pass_to_chained_sessions() {
    let aws = Aws::start().await;
    let key = aws.sts("AssumeRole", &TAGGED).send().await.xml("AccessKeyId");
    let from_it =
        async |form: &[(&str, &str)]| aws.sts("AssumeRole", form).signed(&key, "eu-west-1", "sts").send().await;
    assert_eq!(from_it(&TAGGED[..2]).await.status, 200);
    let tag = |key: &str, value: &str, is_transitive| (key.to_owned(), value.to_owned(), is_transitive);
    let (team, repo) = (tag("team", "a", true), tag("repo", "org/app", false));
    assert_eq!(aws.controls.session_tags(), [vec![team.clone(), repo], vec![team]]);
    let again = [TAGGED[0], TAGGED[1], ("Tags.member.1.Key", "TEAM"), ("Tags.member.1.Value", "b")];
    from_it(&again).await.is_xml_error(400, "ValidationError");
}

#[tokio::test]
async fn tags_and_inherited_tags_need_tag_session() {
    let aws = Aws::start().await;
    let key = aws.sts("AssumeRole", &TAGGED).send().await.xml("AccessKeyId");
    aws.controls.refuse_tags(&[ROLE]);
    let refused = aws.sts("AssumeRole", &TAGGED).send().await;
    assert!(
        String::from_utf8_lossy(&refused.body).contains("is not authorized to perform: sts:TagSession on resource")
    );
    refused.is_xml_error(403, "AccessDenied");
    assert_eq!(aws.sts("AssumeRole", &TAGGED[..2]).send().await.status, 200, "no tags");
    let inherited = aws.sts("AssumeRole", &TAGGED[..2]).signed(&key, "eu-west-1", "sts").send().await;
    inherited.is_xml_error(403, "AccessDenied");
}

#[tokio::test]
async fn tags_beyond_the_limits_of_sts_are_rejected() {
    let aws = Aws::start().await;
    let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
    for tag in [
        [("Tags.member.1.Key", ""), ("Tags.member.1.Value", "a")],
        [("Tags.member.1.Key", "a,b"), ("Tags.member.1.Value", "a")],
        [("Tags.member.1.Key", "aws:team"), ("Tags.member.1.Value", "a")],
        [("Tags.member.1.Key", &long_key), ("Tags.member.1.Value", "a")],
        [("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "a#b")],
        [("Tags.member.1.Key", "team"), ("Tags.member.1.Value", &long_value)],
        [("Tags.member.1.Key", "team"), ("TransitiveTagKeys.member.1", "team")],
        [("TransitiveTagKeys.member.1", "team"), ("DurationSeconds", "900")],
    ] {
        let form = [&TAGGED[..2], &tag].concat();
        aws.sts("AssumeRole", &form).send().await.is_xml_error(400, "ValidationError");
    }
    let names: Vec<_> = (1..=51).map(|n| [format!("Tags.member.{n}.Key"), format!("Tags.member.{n}.Value")]).collect();
    let many = names.iter().flat_map(|[key, value]| [(key.as_str(), key.as_str()), (value.as_str(), "a")]);
    let form: Vec<_> = TAGGED[..2].iter().copied().chain(many).collect();
    aws.sts("AssumeRole", &form).send().await.is_xml_error(400, "ValidationError");
}

#[tokio::test]
async fn session_policy_and_tags_share_one_packed_size() {
    let aws = Aws::start().await;
    let size = async |form: &[(&str, &str)]| aws.sts("AssumeRole", form).send().await.xml("PackedPolicySize");
    let policy = [TAGGED[0], TAGGED[1], ("Policy", "{\"Statement\":[]}")];
    assert_eq!(size(&policy).await, "1");
    let percent = size(&TAGGED).await.parse::<usize>().unwrap();
    let both = [&policy[..], &TAGGED[2..]].concat();
    assert!((percent..=percent + 1).contains(&size(&both).await.parse().unwrap()), "{percent}");
    let long = "v".repeat(250);
    let large = [&TAGGED[..2], &[("Tags.member.1.Key", "a"), ("Tags.member.1.Value", &long)]].concat();
    let larger = [&large[..], &[("Tags.member.2.Key", "b"), ("Tags.member.2.Value", &long)]].concat();
    assert_eq!(size(&large).await, "57");
    let refused = aws.sts("AssumeRole", &larger).send().await;
    assert!(
        String::from_utf8_lossy(&refused.body).contains("Packed size of session tags consumes 114% of allotted space.")
    );
    refused.is_xml_error(400, "PackedPolicyTooLarge");
}

#[tokio::test]
async fn web_identity_token_names_its_caller_and_needs_valid_parameters() {
    let aws = Aws::start().await;
    let good = [("Audience.member.1", "ecr-broker"), ("SigningAlgorithm", "ES384"), ("DurationSeconds", "60")];
    let role = [("RoleArn", "arn:aws:iam::210987654321:role/team/runner"), ("RoleSessionName", "job-1")];
    let key = aws.sts("AssumeRole", &role).send().await.xml("AccessKeyId");
    let response = aws.sts("GetWebIdentityToken", &good).signed(&key, "eu-west-1", "sts").send().await;
    let token = response.xml("WebIdentityToken");
    let claims = data_encoding::BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!("arn:aws:iam::210987654321:role/runner"), &json!("ecr-broker"))
    );
    assert_eq!(claims["https://sts.amazonaws.com/"]["aws_account"], "210987654321");
    assert_eq!(claims["https://sts.amazonaws.com/"]["source_region"], "eu-west-1");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    for change in [
        ("DurationSeconds", "59"),
        ("DurationSeconds", "3601"),
        ("DurationSeconds", "soon"),
        ("SigningAlgorithm", "HS256"),
        ("SigningAlgorithm", "none"),
        ("Audience.member.1", ""),
    ] {
        let parameters = good.map(|(name, value)| if name == change.0 { change } else { (name, value) });
        aws.sts("GetWebIdentityToken", &parameters).send().await.is_xml_error(400, "ValidationError");
    }
    for missing in [&good[1..], &good[..1]] {
        aws.sts("GetWebIdentityToken", missing).send().await.is_xml_error(400, "ValidationError");
    }
    let unsigned = aws.form("GetWebIdentityToken", &good).send().await;
    assert_ne!(unsigned.status, 200);
}

#[tokio::test]
async fn unknown_sts_actions_and_versions_are_invalid() {
    let aws = Aws::start().await;
    aws.sts("GetSessionToken", &[]).send().await.is_xml_error(400, "InvalidAction");
    let mut request = aws.sts("", &[]);
    request.body = b"Action=GetCallerIdentity&Version=2010-01-01&%zz=%".to_vec();
    request.send().await.is_xml_error(400, "InvalidAction");
}

#[tokio::test]
async fn faults_strike_ecr_as_json() {
    for (fault, status, code) in [
        (Fault::Throttle, 400, "ThrottlingException"),
        (Fault::ThrottleException, 400, "ThrottleException"),
        (Fault::Denied, 400, "AccessDeniedException"),
        (Fault::ServerError, 500, "ServerException"),
    ] {
        let aws = Aws::failing(fault).await;
        aws.ecr("eu-central-1", &json!({})).send().await.is_json_error(status, code);
        aws.public("us-east-1").send().await.is_json_error(status, code);
    }
}

#[tokio::test]
async fn faults_strike_sts_as_xml() {
    for (fault, status, code) in [
        (Fault::Throttle, 400, "Throttling"),
        (Fault::ThrottleException, 400, "ThrottleException"),
        (Fault::Denied, 403, "AccessDenied"),
        (Fault::ServerError, 500, "InternalFailure"),
    ] {
        let aws = Aws::failing(fault).await;
        aws.sts("GetCallerIdentity", &[]).send().await.is_xml_error(status, code);
    }
}

#[tokio::test]
async fn denial_names_the_principal_and_the_action() {
    let aws = Aws::failing(Fault::Denied).await;
    let message = aws.ecr("eu-central-1", &json!({})).send().await.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with(
            "User: arn:aws:iam::123456789012:user/simulated is not authorized to perform: ecr:GetAuthorizationToken on \
             resource: *"
        ),
        "{message}"
    );
}

#[tokio::test]
async fn bare_429_has_no_error_code() {
    let aws = Aws::failing(Fault::Http429).await;
    for request in [aws.ecr("eu-central-1", &json!({})), aws.sts("GetCallerIdentity", &[])] {
        let response = request.send().await;
        assert_eq!((response.status, response.body.len()), (429, 0));
        assert!(response.header("x-amzn-errortype").is_none() && response.header("x-amzn-requestid").is_some());
    }
}

#[tokio::test]
async fn garbage_is_a_success_without_a_usable_token() {
    let aws = Aws::failing(Fault::Garbage).await;
    let mut kinds = std::collections::HashSet::new();
    for _ in 0..100 {
        let response = aws.ecr("eu-central-1", &json!({})).send().await;
        assert_eq!(response.status, 200);
        let data = serde_json::from_slice::<Value>(&response.body).unwrap_or_default();
        let token = data["authorizationData"][0]["authorizationToken"].as_str().unwrap_or_default();
        assert!(token.is_empty() || BASE64.decode(token.as_bytes()).is_err());
        kinds.insert(response.body);
    }
    assert!(kinds.len() > 3);
    assert!(!aws.sts("GetCallerIdentity", &[]).send().await.body.starts_with(b"<GetCallerIdentityResponse"));
}

#[tokio::test]
async fn hanging_call_is_counted_and_ends_with_the_simulator() {
    let aws = Aws::failing(Fault::Hang).await;
    let mut stream = aws.ecr("eu-central-1", &json!({})).open().await;
    aws.controls.until_calls(1).await;
    assert_eq!(stream.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    aws.stop().await;
    assert_eq!(stream.read(&mut [0]).await.unwrap_or_default(), 0);
}

#[tokio::test]
async fn latency_comes_before_the_fault() {
    let aws = Aws::failing(Fault::Throttle).await;
    aws.controls.set_latency(Duration::from_hours(1));
    let waiting = aws.ecr("eu-central-1", &json!({})).open().await;
    aws.controls.until_calls(1).await;
    aws.controls.set_latency(Duration::ZERO);
    aws.ecr("eu-central-1", &json!({})).send().await.is_json_error(400, "ThrottlingException");
    assert_eq!(waiting.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn first_fault_that_strikes_decides() {
    let aws = Aws::start().await;
    let rates = [(Fault::Hang, 0.0), (Fault::Denied, 1.0), (Fault::Throttle, 1.0)];
    aws.controls.set_faults(rates.map(|(fault, rate)| FaultRate { fault, rate }).into());
    aws.ecr("eu-central-1", &json!({})).send().await.is_json_error(400, "AccessDeniedException");
    aws.controls.set_faults(Vec::new());
    assert_eq!(aws.ecr("eu-central-1", &json!({})).send().await.status, 200);
}

#[tokio::test]
async fn calls_are_counted_by_service_and_region() {
    let aws = Aws::start().await;
    for region in ["eu-central-1", "eu-central-1", "us-east-1"] {
        aws.ecr(region, &json!({})).send().await;
    }
    aws.public("us-east-1").send().await;
    aws.sts("GetCallerIdentity", &[]).send().await;
    assert_eq!(aws.controls.calls(), 4);
    assert_eq!(aws.controls.calls_to(Service::Ecr, "eu-central-1"), 2);
    assert_eq!(aws.controls.calls_to(Service::EcrPublic, "us-east-1"), 1);
    assert_eq!(aws.controls.calls_to(Service::Sts, "us-east-1"), 1);
    assert_eq!(aws.controls.calls_to(Service::Ecr, "eu-west-1"), 0);
}

#[tokio::test]
async fn body_over_64_kib_is_rejected() {
    let aws = Aws::start().await;
    let mut request = aws.ecr("eu-central-1", &json!({}));
    request.body = vec![b' '; 64 * 1024 + 1];
    request.send().await.is_json_error(413, "RequestEntityTooLargeException");
}

#[tokio::test]
async fn simulator_survives_connections_without_http() {
    let aws = Aws::start().await;
    for noise in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET"]
    {
        let mut stream = TcpStream::connect(aws.address).await.unwrap();
        stream.write_all(noise).await.unwrap();
        stream.shutdown().await.unwrap();
        // The simulator may respond or disconnect; both end the read.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert_eq!(aws.ecr("eu-central-1", &json!({})).send().await.status, 200);
}

#[tokio::test]
async fn each_session_has_separate_keys() {
    let aws = Aws::start().await;
    let role = [("RoleArn", ROLE), ("RoleSessionName", "me")];
    let key = aws.sts("AssumeRole", &role).send().await.xml("AccessKeyId");
    let newer = aws.sts("AssumeRole", &role).send().await.xml("AccessKeyId");
    assert_ne!(key, newer);
    for key in [key, newer] {
        let identity = aws.sts("GetCallerIdentity", &[]).signed(&key, "us-east-1", "sts").send().await;
        assert_eq!(identity.xml("Account"), "210987654321");
    }
}

#[test]
fn faults_have_the_names_of_the_command_line() {
    for fault in Fault::ALL {
        assert_eq!(fault.to_string().parse(), Ok(fault));
        assert_eq!(format!("{fault}=0.25").parse(), Ok(FaultRate { fault, rate: 0.25 }));
    }
    assert_eq!(FaultRate { fault: Fault::Http429, rate: 0.5 }.to_string(), "http-429=0.5");
}

#[test]
fn invalid_fault_rate_names_the_valid_form() {
    for (text, problem) in [
        ("throttle", "\"throttle\" is not KIND=RATE; use one of throttle, throttle-exception,"),
        (
            "flood=1",
            "\"flood\" is not a fault; use one of throttle, throttle-exception, http-429, denied, server-error, hang",
        ),
        ("hang=often", "\"often\" is not a rate; use a number from 0 to 1, such as 0.2"),
        ("hang=1.01", "\"1.01\" is not a rate"),
        ("hang=-1", "\"-1\" is not a rate"),
        ("hang=NaN", "\"NaN\" is not a rate"),
    ] {
        let error = text.parse::<FaultRate>().unwrap_err().to_string();
        assert!(error.starts_with(problem), "{error}");
    }
}

#[test]
fn answers_have_the_names_of_the_command_line() {
    for answer in Answer::ALL {
        assert_eq!(answer.to_string().parse(), Ok(answer));
    }
    let unknown = "yes".parse::<Answer>().unwrap_err().to_string();
    assert!(unknown.starts_with("\"yes\" is not an answer; use one of policy-ignored, "), "{unknown}");
}
