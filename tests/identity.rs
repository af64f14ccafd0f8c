//! The broker's AWS identity and its route to AWS: the real program, with a fake AWS for each test.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use program::{Ended, Server, at_once, program, run, simulated_broker};

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const REGION: (&str, &str) = ("AWS_REGION", "eu-central-1");
const NO_IMDS: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example")];

fn broker(environment: &[(&str, &str)]) -> Server {
    Server::start(&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"], environment)
}

fn get(broker: &Server) -> Ended {
    run(&["get", PRIVATE, "--address", &broker.address], &[])
}

/// A call that fails. It is repeated until its timeout, which leaves time for a slow first answer.
fn refused(broker: &Server) -> Ended {
    run(&["get", PRIVATE, "--address", &broker.address, "--timeout", "4s"], &[])
}

/// An HTTP server that answers with a function of the request, and reports the requests.
struct Http {
    url: String,
    requests: mpsc::Receiver<String>,
}

fn answering(answer: impl Fn(&str) -> (&'static str, String) + Send + Sync + 'static) -> Http {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = mpsc::channel();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (answer, seen) = (Arc::clone(&answer), seen.clone());
            std::thread::spawn(move || {
                let request = read(&mut stream);
                // A client may open a connection that it does not use.
                if !request.is_empty() {
                    let (status, body) = answer(&request);
                    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close", body.len());
                    _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
                    if !asks_for_the_name(&request) {
                        _ = seen.send(request);
                    }
                }
            });
        }
    });
    Http { url, requests }
}

/// Returns whether a request is the one by which the log gets the identity's account and role. It is sent at any time.
fn asks_for_the_name(request: &str) -> bool {
    request.contains("Action=GetCallerIdentity") || request.starts_with("CONNECT sts.eu-central-1.amazonaws.com:443 ")
}

/// Reads a request, head and body.
fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !is_whole(&bytes) {
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(read @ 1..) => bytes.extend_from_slice(&piece[..read]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    bytes.len() >= end + 4 + length.unwrap_or(0)
}

fn token() -> String {
    let token = BASE64.encode(b"AWS:password");
    #[expect(clippy::disallowed_methods, reason = "the broker under test uses the real time")]
    let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_hours(12);
    format!(r#"{{"authorizationData":[{{"authorizationToken":"{token}","expiresAt":{}}}]}}"#, end.as_secs())
}

fn refusal(code: &str) -> String {
    format!(r#"{{"__type":"{code}","message":"The security token included in the request is invalid."}}"#)
}

#[test]
fn p13_broker_starts_without_aws_credentials_and_picks_them_up() {
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    let environment = [
        ("AWS_ENDPOINT_URL", aws.address.as_str()),
        REGION,
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()),
        NO_IMDS,
    ];
    let broker = broker(&environment);
    let without = refused(&broker);
    assert_eq!(without.code, 5);
    assert!(without.error().contains("AWS_CREDENTIALS_UNAVAILABLE"), "{}", without.stderr);
    write_keys(&file, "AKIAEXAMPLE");
    // The backoff is half a second, then one, and so on: the keys are found within a few attempts, or never.
    assert!((0..5000).any(|_| get(&broker).code == 0));
}

fn write_keys(file: &Path, key: &str) {
    fs::write(file, format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = example\n")).unwrap();
}

#[test]
fn p13_refused_keys_are_read_again_from_their_file() {
    let aws = answering(|request| {
        if request.contains("AKIAOLD") {
            ("400 Bad Request", refusal("UnrecognizedClientException"))
        } else {
            ("200 OK", token())
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    write_keys(&file, "AKIAOLD");
    let environment = [
        ("AWS_ENDPOINT_URL", aws.url.as_str()),
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()),
        REGION,
        NO_IMDS,
    ];
    let broker = broker(&environment);
    let refused = refused(&broker);
    assert!(refused.error().contains("AWS_CREDENTIALS_UNAVAILABLE"), "{}", refused.stderr);
    assert_eq!(aws.requests.iter().take(2).count(), 2, "once with the old keys, once with the keys read again");
    write_keys(&file, "AKIANEW");
    assert!((0..5000).any(|_| get(&broker).code == 0));
}

#[test]
fn signature_refusal_is_logged_without_the_session_token() {
    let aws = answering(|request| {
        let sent = request.lines().find(|line| line.starts_with("x-amz-security-token")).unwrap_or_default();
        let text = format!("The signature does not match\\n\\nThe Canonical String:\\n{sent}");
        ("403 Forbidden", format!(r#"{{"__type":"InvalidSignatureException","message":"{text}"}}"#))
    });
    let session = [("AWS_SESSION_TOKEN", "very-secret-token"), ("AWS_ENDPOINT_URL", aws.url.as_str()), REGION, NO_IMDS];
    let broker = broker(&[&KEYS[..], &session].concat());
    assert_eq!(refused(&broker).code, 5);
    let sent = aws.requests.recv().unwrap();
    assert!(sent.contains("very-secret-token"), "the token was sent: {sent}");
    let logs = broker.stop();
    assert!(logs.contains("The signature does not match") && !logs.contains("very-secret"), "{logs}");
}

#[test]
fn proxy_is_used_for_aws_and_not_for_this_host() {
    let proxy = answering(|_| ("200 OK", token()));
    let through = [("HTTP_PROXY", proxy.url.as_str())];
    let simulated = simulated_broker(&[], &through);
    get(&simulated).out();
    assert!(proxy.requests.try_recv().is_err(), "the simulated AWS is on this host");

    let plaintext = ("ECR_BROKER_AWS_ALLOW_PLAINTEXT_ENDPOINTS", "true");
    let aws = [("AWS_ENDPOINT_URL_ECR", "http://ecr.aws.example"), plaintext, REGION, NO_IMDS];
    let broker = broker(&[&KEYS[..], &through, &aws].concat());
    get(&broker).out();
    let request = proxy.requests.recv().unwrap();
    assert!(request.starts_with("POST http://ecr.aws.example/ "), "{request}");
}

/// A home directory with the SDK's files.
struct Home(tempfile::TempDir);

impl Home {
    fn new(config: &str, credentials: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(".aws")).unwrap();
        fs::write(directory.path().join(".aws/config"), config).unwrap();
        fs::write(directory.path().join(".aws/credentials"), credentials).unwrap();
        Self(directory)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// Starts a broker, and returns its log once it has not found credentials and has refused two requests.
    fn log_of_a_broker(&self, environment: &[(&str, &OsStr)]) -> String {
        let mut command = program(&[REGION, NO_IMDS, ("HOME", self.path())]);
        command.args(["serve", "--listen", "127.0.0.1:0", "--allow-loopback"]).envs(environment.iter().copied());
        let broker = Server::spawn_logging(command);
        broker.until_logged("AWS credentials not found");
        for _ in 0..2 {
            let refused = refused(&broker);
            assert!(refused.error().contains("AWS_CREDENTIALS_UNAVAILABLE"), "{}", refused.stderr);
            assert!(!refused.stderr.contains(".aws") && !refused.stderr.contains("prodd"), "{}", refused.stderr);
        }
        broker.stop()
    }
}

/// The SDK's two files, the environment, and what the log must contain.
type Case<'a> = (&'a str, Vec<u8>, &'a [(&'a str, &'a OsStr)], &'a [&'a str]);

fn utf16(text: &str) -> Vec<u8> {
    [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn missing_credentials_are_logged_once_with_the_reason_of_each_provider() {
    let home = Home::new("", b"[default]\naws_access_key_id = A\naws_secret_access_key = s\n");
    let log = home.log_of_a_broker(&[("AWS_PROFILE", "prodd".as_ref())]);
    assert_eq!(log.matches("AWS credentials not found").count(), 1, "{log}");
    for reason in [
        "Environment: environment variable not set (AWS_ACCESS_KEY_ID); ",
        "Profile: profile `prodd` was not defined",
        "(AWS_PROFILE=prodd)",
        "WebIdentityToken: $AWS_WEB_IDENTITY_TOKEN_FILE was not set; ",
        "EcsContainer: ECS provider not configured; ",
        "Ec2InstanceMetadata: IMDS disabled",
    ] {
        assert!(log.contains(reason), "{reason}: {log}");
    }
}

#[test]
fn cause_of_missing_credentials_is_logged_without_any_secret() {
    let keys = "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = very-secret\n";
    let role = "[default]\nrole_arn = arn:aws:iam::123456789012:role/broker\n";
    let sso = "[default]\nsso_start_url = https://sso.example/start\nsso_region = eu-central-1\nsso_account_id = \
               123456789012\nsso_role_name = pull\n";
    let process = "[default]\ncredential_process = sh -c 'echo very-secret >&2; exit 3'\n";
    let bom = [b"\xEF\xBB\xBF", keys.as_bytes()].concat();
    let none: &[(&str, &OsStr)] = &[];
    let cases: &[Case<'_>] = &[
        ("", utf16(keys), none, &["Profile: ", "/.aws/credentials is UTF-16; save it as UTF-8"]),
        ("", bom, none, &["/.aws/credentials begins with a byte order mark"]),
        (
            "",
            b"[default]\nvery-secret\n".to_vec(),
            none,
            &["Profile: ", "/.aws/credentials on line 2: Expected an '='"],
        ),
        (&format!("{role}source_profile = gone\n"), vec![], none, &["could not find source profile gone"]),
        (role, vec![], none, &["profile must contain `source_profile` or `credential_source`"]),
        (sso, vec![], none, &["Profile: ", "/.aws/sso/cache/"]),
        (process, vec![], none, &["Profile: credential_process failed; run it by hand"]),
        (
            "",
            vec![],
            &[("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/broker".as_ref())],
            &["WebIdentityToken: $AWS_WEB_IDENTITY_TOKEN_FILE was not set (AWS_ROLE_ARN is set without it)"],
        ),
        (
            "",
            vec![],
            &[
                ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/broker".as_ref()),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/token".as_ref()),
            ],
            &["WebIdentityToken: No such file or directory", "(AWS_WEB_IDENTITY_TOKEN_FILE=/no/such/token)"],
        ),
        (
            "",
            vec![],
            &[("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE".as_ref())],
            &["AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"],
        ),
        (
            "",
            vec![],
            &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://very-secret@192.0.2.1/".as_ref())],
            &["EcsContainer: AWS_CONTAINER_CREDENTIALS_FULL_URI is not valid"],
        ),
    ];
    at_once(cases, |(config, credentials, environment, reasons)| {
        let log = Home::new(config, credentials).log_of_a_broker(environment);
        reasons.iter().for_each(|reason| assert!(log.contains(reason), "{reason}: {log}"));
        assert!(!log.contains("very-secret"), "{reasons:?}: {log}");
    });
}

#[test]
fn get_prints_the_error_code_and_blames_the_clock() {
    let expired =
        r#"{"__type":"InvalidSignatureException","message":"Signature expired: 2026 is now earlier than 2027"}"#;
    let cases = [
        (
            expired.to_owned(),
            5,
            "AWS_CLOCK_SKEWED: AWS rejects the broker's clock (InvalidSignatureException); set the clock",
        ),
        (
            refusal("RequestTimeTooSkewed"),
            5,
            "AWS_CLOCK_SKEWED: AWS rejects the broker's clock (RequestTimeTooSkewed); ",
        ),
        (refusal("UnrecognizedClientException"), 5, "in eu-central-1 (UnrecognizedClientException); enable the region"),
        (refusal("AccessDeniedException"), 4, "AWS denied access (AccessDeniedException); allow GetAuthorizationToken"),
        (refusal("UnknownOperationException"), 5, "AWS rejects the broker's request (UnknownOperationException); "),
    ];
    at_once(cases, |(body, code, words)| {
        let aws = answering(move |_| ("403 Forbidden", body.clone()));
        let broker = broker(&[&KEYS[..], &[("AWS_ENDPOINT_URL", aws.url.as_str()), REGION, NO_IMDS]].concat());
        let refused = refused(&broker);
        assert_eq!(refused.code, code, "{}", refused.stderr);
        assert!(refused.error().contains(words), "{}", refused.stderr);
        for free_text in ["Signature expired", "security token"] {
            assert!(!refused.stderr.contains(free_text), "{}", refused.stderr);
        }
    });
}

const PROFILE: &str = r#"
[[profiles]]
name = "ci-pull"
role_chain = [
  { arn = "arn:aws:iam::210987654321:role/hub", external_id = "hub-id" }, "arn:{partition}:iam::{account}:role/ecr-pull",
]
external_id = "farm"
access = "pull"
repositories = ["team-a/*"]
[[grants]]
id = "pullers"
callers = [{ loopback = true }]
registries = [{ accounts = ["123456789012"], regions = ["*"] }]
profile = "ci-pull"
"#;

/// STS gets each role's own external ID, and the session policy for the last one.
#[test]
fn role_chain_is_assumed_with_external_id_and_session_policy() {
    let sts = answering(|_| {
        ("403 Forbidden", "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>".into())
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    let (hub, hub_id) = ("arn:aws:iam::210987654321:role/hub", ", external_id = \"hub-id\"");
    let alone = PROFILE.replace(&format!("{{ arn = \"{hub}\"{hub_id} }}, "), "");
    for chain in [PROFILE.to_owned(), PROFILE.replace(hub_id, ""), alone] {
        fs::write(file.path(), &chain).unwrap();
        let config = file.path().to_str().unwrap();
        let environment = [&KEYS[..], &[("AWS_ENDPOINT_URL_STS", sts.url.as_str()), REGION, NO_IMDS]].concat();
        let broker =
            Server::start(&["serve", "--config", config, "--listen", "127.0.0.1:0", "--allow-loopback"], &environment);
        let refused = refused(&broker);
        assert_eq!(refused.code, 4, "{}", refused.stderr);
        assert!(refused.error().contains("AWS_ACCESS_DENIED"), "{}", refused.stderr);
        let request = sts.requests.recv_timeout(Duration::from_secs(10)).unwrap();
        let last = !chain.contains("role/hub");
        let role = if last { "123456789012%3Arole%2Fecr-pull" } else { "210987654321%3Arole%2Fhub" };
        for part in ["Action=AssumeRole&", role, "RoleSessionName=ecr-broker-ci-pull"] {
            assert!(request.contains(part), "{part}: {request}");
        }
        let expected = if last { Some("farm") } else { chain.contains(hub_id).then_some("hub-id") };
        let sent = request.split_once("ExternalId=").map(|(_, rest)| rest.split(['&', '\r', '\n']).next().unwrap());
        assert_eq!(sent, expected, "{request}");
        assert_eq!(
            request.contains("Policy=") && request.contains("123456789012%3Arepository%2Fteam-a"),
            last,
            "{request}"
        );
    }
}

/// The wrong account's token was handed out as that of the account that was asked for.
#[test]
fn p12_response_for_another_account_or_region_is_refused() {
    let cases = [
        (PRIVATE, 0),
        ("123456789012.dkr.ecr.eu-central-1.emulator.example:4566", 0),
        ("666666666666.dkr.ecr.eu-central-1.amazonaws.com", 5),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", 5),
    ];
    at_once(cases, |(host, code)| {
        let body = token().replace("}]}", &format!(",\"proxyEndpoint\":\"https://{host}\"}}]}}"));
        let aws = answering(move |_| ("200 OK", body.clone()));
        let broker = broker(&[&KEYS[..], &[("AWS_ENDPOINT_URL", aws.url.as_str()), REGION, NO_IMDS]].concat());
        let answer = if code == 0 { get(&broker) } else { refused(&broker) };
        assert_eq!(answer.code, code, "{host}: {}", answer.stderr);
        assert!(code == 0 || answer.error().contains("AWS_RESPONSE_INVALID") && answer.stdout.is_empty(), "{answer:?}");
    });
}

/// A FIPS host under an override was asked at an endpoint without FIPS.
#[test]
fn fips_host_is_refused_under_an_override_without_fips() {
    let proxy = answering(|_| ("403 Forbidden", String::new()));
    let fips = PRIVATE.replace("ecr.", "ecr-fips.");
    let endpoint = |url| [("ECR_BROKER_AWS_ECR_ENDPOINT", url), ("HTTPS_PROXY", proxy.url.as_str()), REGION, NO_IMDS];
    let get = |broker: &Server| run(&["get", &fips, "--address", &broker.address, "--timeout", "2s"], &[]);
    let other = broker(&[&KEYS[..], &endpoint("https://api.ecr.{region}.vpce.example")].concat());
    let refused = get(&other);
    assert!(refused.code == 1 && refused.error().contains("BROKER_MISCONFIGURED"), "{refused:?}");
    other.until_logged("a FIPS registry needs a FIPS endpoint");
    assert!(other.stop().contains("aws.ecr_endpoint") && proxy.requests.try_recv().is_err());
    let named = broker(&[&KEYS[..], &endpoint("https://api.ecr-fips.{region}.vpce.example")].concat());
    get(&named);
    named.stop();
    let called = proxy.requests.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(called.starts_with("CONNECT api.ecr-fips.eu-central-1.vpce.example:443 "), "{called}");
    let promise = ("ECR_BROKER_AWS_ENDPOINTS_ARE_FIPS", "true");
    let private = broker(&[&KEYS[..], &endpoint("https://ecr.corp.example"), &[promise]].concat());
    get(&private);
    // Retries of the call before may be in the queue.
    let next = || proxy.requests.recv_timeout(Duration::from_secs(10)).unwrap();
    while !next().starts_with("CONNECT ecr.corp.example:443 ") {}
}

/// AWS's own clients accept a FIPS host and then call the plain API. The proxy sees which host the broker connects to.
#[test]
fn registry_host_decides_which_api_is_called() {
    let proxy = answering(|_| ("403 Forbidden", String::new()));
    let aws = [("HTTPS_PROXY", proxy.url.as_str()), REGION, NO_IMDS];
    let broker = broker(&[&KEYS[..], &aws].concat());
    let mut before: Vec<&str> = Vec::new();
    for (registry, api) in [
        (PRIVATE, "api.ecr.eu-central-1.amazonaws.com"),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "api.ecr-fips.us-gov-west-1.amazonaws.com"),
        ("123456789012.dkr-ecr.us-west-2.on.aws", "ecr.us-west-2.api.aws"),
        ("123456789012.dkr-ecr-fips.us-west-2.on.aws", "ecr-fips.us-west-2.api.aws"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn"),
        ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "ecr.cn-north-1.api.amazonwebservices.com.cn"),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "api.ecr.eusc-de-east-1.amazonaws.eu"),
        ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "api.ecr.us-iso-east-1.c2s.ic.gov"),
        ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "api.ecr.us-isob-east-1.sc2s.sgov.gov"),
        ("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "api.ecr.eu-isoe-west-1.cloud.adc-e.uk"),
        ("123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "api.ecr.us-isof-south-1.csp.hci.ic.gov"),
        ("public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com"),
        ("ecr-public.aws.com", "ecr-public.us-east-1.api.aws"),
    ] {
        let get = ["get", registry, "--address", &broker.address, "--timeout", "300ms"];
        assert_eq!(run(&get, &[]).code, 5, "{registry}");
        // The first calls are retried, so retries of earlier registries may arrive late.
        loop {
            let request = proxy.requests.recv_timeout(Duration::from_secs(10)).expect(registry);
            let called = |api: &str| request.starts_with(&format!("CONNECT {api}:443 "));
            if called(api) {
                break;
            }
            assert!(before.iter().any(|api| called(api)), "{registry}: {request}");
        }
        before.push(api);
    }
}
