//! The AWS source against AWS's wire protocols: the simulated AWS, and a server with responses that AWS should never give.

#![cfg(all(feature = "server", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use ecr_broker::caller::Caller;
use ecr_broker::clock::{Clock as _, SystemClock};
use ecr_broker::credential::{Credential, CredentialKey, Lifetime};
use ecr_broker::error::{AwsRefusal, FailureClass, Stage, UpstreamError};
use ecr_broker::metrics;
use ecr_broker::profile::{Access, Attribution, ExtraPermissions, Profile, SessionTag, SessionTags};
use ecr_broker::proxy::Proxies;
use ecr_broker::registry::{EndpointVariant, PrivateRegistry, Registry};
use ecr_broker::simulator::{self, Controls, Fault, FaultRate, Service, Simulator};
use ecr_broker::source::aws::web_identity::WebIdentity;
use ecr_broker::source::aws::{Aws, Settings, Verification};
use ecr_broker::source::{CredentialSource as _, FetchRequest, Metrics, SourceIdentity as _, SourceStatus};
use support::{HOST, fetch_request, key, upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn settings(endpoint: &str) -> Settings {
    Settings {
        region: Some("eu-central-1".into()),
        regions: Vec::new(),
        needs_region: false,
        imds_disabled: false,
        ca_bundle: None,
        ecr_endpoint: Some(endpoint.into()),
        ecr_endpoints: BTreeMap::new(),
        ecr_public_endpoint: Some(endpoint.into()),
        ecr_public_region: "us-east-1".into(),
        sts_endpoint: None,
        signin_endpoint: None,
        endpoints_are_fips: false,
        web_identity: None,
        proxies: Proxies::default(),
        connect_timeout: Duration::from_secs(1),
        attempt_timeout: Duration::from_millis(500),
        operation_timeout: Duration::from_secs(4),
        admission: support::admission_settings(),
        sts_calls_per_second: NonZeroU32::new(100).unwrap(),
        profiles: Vec::new(),
        verification: Verification::default(),
        simulated_credentials: true,
    }
}

async fn load(settings: Settings) -> anyhow::Result<Aws> {
    let mut registry = metrics::Registry::default();
    let metrics = Metrics::new(&mut registry);
    Aws::load(settings, Arc::new(SystemClock::new()), &metrics, &mut registry).await
}

async fn aws(settings: Settings) -> Aws {
    load(settings).await.unwrap()
}

async fn simulate() -> (String, Controls) {
    let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), simulator::Settings::default()).await.unwrap();
    let (endpoint, controls) = (format!("http://{}", simulator.address()), simulator.controls());
    tokio::spawn(simulator.run_until(std::future::pending()));
    (endpoint, controls)
}

async fn fetch(aws: &Aws, host: &str) -> Result<Credential, UpstreamError> {
    fetch_key(aws, &key(host)).await
}

async fn fetch_key(aws: &Aws, key: &CredentialKey) -> Result<Credential, UpstreamError> {
    aws.fetch(&fetch_request(key.clone())).await.map_err(upstream)
}

/// Starts a server that gives one response to every request.
async fn responding(status: &'static str, body: Vec<u8>) -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = body.clone();
            tokio::spawn(async move {
                let mut request = [0; 16 * 1024];
                _ = stream.read(&mut request).await;
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
            });
        }
    });
    endpoint
}

#[tokio::test]
async fn both_services_give_credentials_in_their_own_shapes() {
    let (endpoint, controls) = simulate().await;
    let aws = aws(settings(&endpoint)).await;
    let private = fetch(&aws, HOST).await.unwrap();
    assert_eq!(private.account().unwrap().as_str(), "123456789012");
    assert!(private.password().expose().len() > 1500);
    let remaining = private.remaining(private.received());
    assert!(remaining > Duration::from_mins(12 * 60 - 1) && remaining <= Duration::from_hours(12));
    let public = fetch(&aws, "public.ecr.aws").await.unwrap();
    assert!(public.account().is_none());
    assert_eq!(controls.calls_to(Service::EcrPublic, "us-east-1"), 1);
}

#[tokio::test]
async fn ecr_is_called_in_the_registrys_region_and_ecr_public_in_its_own() {
    let (endpoint, controls) = simulate().await;
    let aws = aws(settings(&endpoint)).await;
    for (host, service, region) in [
        ("000000000007.dkr.ecr.ap-southeast-2.amazonaws.com", Service::Ecr, "ap-southeast-2"),
        ("000000000007.dkr.ecr.cn-north-1.amazonaws.com.cn", Service::Ecr, "cn-north-1"),
        // FIPS and dual-stack with an endpoint override: the SDK alone rejects the pair.
        ("000000000007.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Service::Ecr, "us-gov-west-1"),
        ("000000000007.dkr-ecr-fips.us-east-2.on.aws", Service::Ecr, "us-east-2"),
        ("ecr-public.aws.com", Service::EcrPublic, "us-east-1"),
    ] {
        fetch(&aws, host).await.unwrap();
        assert_eq!(controls.calls_to(service, region), 1, "{host}");
    }
}

#[tokio::test]
async fn account_of_a_nameless_registry_comes_from_the_response() {
    let (endpoint, _) = simulate().await;
    let registry = PrivateRegistry::new(None, "eu-west-1".parse().unwrap(), EndpointVariant::default()).unwrap();
    let mut wanted = key(HOST);
    wanted.registry = Registry::Private(registry);
    let credential = fetch_key(&aws(settings(&endpoint)).await, &wanted).await.unwrap();
    assert_eq!(credential.account().unwrap().as_str(), "123456789012");
}

#[tokio::test]
async fn endpoint_template_and_endpoints_of_single_regions_are_used() {
    let (wide, by_wide) = simulate().await;
    let (narrow, by_narrow) = simulate().await;
    let mut settings = settings(&format!("{wide}/?region={{region}}").replace("/?", "?"));
    settings.ecr_endpoint = Some(wide);
    settings.ecr_endpoints.insert("us-gov-west-1".into(), narrow);
    let aws = aws(settings).await;
    fetch(&aws, HOST).await.unwrap();
    fetch(&aws, "000000000007.dkr.ecr.us-gov-west-1.amazonaws.com").await.unwrap();
    assert_eq!((by_wide.calls(), by_narrow.calls()), (1, 1));
}

#[tokio::test]
async fn each_fault_has_its_failure_class() {
    for (fault, class) in [
        (Fault::Throttle, FailureClass::Throttled),
        (Fault::ThrottleException, FailureClass::Throttled),
        (Fault::Http429, FailureClass::Throttled),
        (Fault::Denied, FailureClass::Denied),
        (Fault::ServerError, FailureClass::Unavailable),
        (Fault::Hang, FailureClass::Unavailable),
        (Fault::Garbage, FailureClass::InvalidResponse),
    ] {
        let (endpoint, controls) = simulate().await;
        controls.set_faults(vec![FaultRate { fault, rate: 1.0 }]);
        let aws = aws(settings(&endpoint)).await;
        for host in [HOST, "public.ecr.aws"] {
            let failure = fetch(&aws, host).await.unwrap_err();
            assert_eq!(failure.class, class, "{fault:?} {host}");
        }
    }
}

#[tokio::test]
async fn denial_keeps_the_error_code_and_request_id_without_the_message() {
    let (endpoint, controls) = simulate().await;
    controls.set_faults(vec![FaultRate { fault: Fault::Denied, rate: 1.0 }]);
    let failure = fetch(&aws(settings(&endpoint)).await, HOST).await.unwrap_err();
    assert_eq!(failure.code.as_deref(), Some("AccessDeniedException"));
    assert!(failure.request_id.is_some());
    assert!(!format!("{failure:?} {failure}").contains("arn:"));
}

#[tokio::test]
async fn p12_malformed_responses_are_rejected_without_a_panic() {
    let token = |clear: &str| data_encoding::BASE64.encode(clear.as_bytes());
    let private = |token: &str, expires: &str| {
        format!(
            r#"{{"authorizationData":[{{"authorizationToken":"{token}","expiresAt":{expires},"proxyEndpoint":"https://{HOST}"}}]}}"#
        )
    };
    let later = "4102444800";
    for (name, body) in [
        ("no members", "{}".to_owned()),
        ("an empty list", r#"{"authorizationData":[]}"#.to_owned()),
        ("an empty entry", r#"{"authorizationData":[{}]}"#.to_owned()),
        ("null members", r#"{"authorizationData":[{"authorizationToken":null,"expiresAt":null}]}"#.to_owned()),
        ("no colon", private(&token("AWSpassword"), "1795346855")),
        ("another user name", private(&token("root:password"), "1795346855")),
        ("not base64", private("!!!", "1795346855")),
        ("expired in 2015", private(&token("AWS:password"), "1420070400")),
        ("an expiry in the next century", private(&token("AWS:password"), later)),
        ("an expiry in milliseconds", private(&token("AWS:password"), "1795346855432")),
        ("an expiry before time", private(&token("AWS:password"), "-1")),
        ("an expiry as a text", private(&token("AWS:password"), "\"2026-11-23T00:00:00Z\"")),
        ("a megabyte of token", private(&token(&format!("AWS:{}", "x".repeat(1 << 20))), "1795346855")),
        ("cut off", r#"{"authorizationData":[{"authorizationToken":"QVdTOnN"#.to_owned()),
        ("an HTML page", "<html>maintenance</html>".to_owned()),
        ("nothing", String::new()),
        ("a number", "5".to_owned()),
        ("two megabytes of space", " ".repeat(2 << 20)),
        ("deep nesting", "[".repeat(100_000)),
    ] {
        let endpoint = responding("200 OK", body.into_bytes()).await;
        let aws = aws(settings(&endpoint)).await;
        for host in [HOST, "public.ecr.aws"] {
            let failure = fetch(&aws, host).await.unwrap_err();
            assert_eq!(failure.class, FailureClass::InvalidResponse, "{name}, {host}");
        }
    }
}

#[tokio::test]
async fn responses_without_a_code_are_classified_by_status_never_as_denial() {
    for (status, class) in [
        ("403 Forbidden", FailureClass::InvalidResponse),
        ("429 Too Many Requests", FailureClass::Throttled),
        ("502 Bad Gateway", FailureClass::Unavailable),
        ("404 Not Found", FailureClass::InvalidResponse),
    ] {
        let endpoint = responding(status, b"<html>a proxy</html>".to_vec()).await;
        let failure = fetch(&aws(settings(&endpoint)).await, HOST).await.unwrap_err();
        assert_eq!(failure.class, class, "{status}");
    }
}

#[tokio::test]
async fn malformed_error_code_is_dropped() {
    for kind in ["arn:aws:iam::123456789012:role/broker".to_owned(), "X".repeat(20_000)] {
        let body = format!(r#"{{"__type": "{kind}", "message": "no"}}"#);
        let endpoint = responding("400 Bad Request", body.into_bytes()).await;
        let failure = fetch(&aws(settings(&endpoint)).await, HOST).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::InvalidResponse);
        // The SDK cuts an error code at its first colon.
        assert!(matches!(failure.code.as_deref(), None | Some("arn")), "{failure:?}");
    }
}

/// A role that no longer exists is a denial: credentials minted with it must not stay cached.
#[tokio::test]
async fn p5_sts_access_denied_is_a_denial_and_throttling_is_not() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "header.claims.signature").unwrap();
    for (fault, denied) in [(Fault::Denied, true), (Fault::Throttle, false), (Fault::ServerError, false)] {
        let (endpoint, controls) = simulate().await;
        controls.set_faults(vec![FaultRate { fault, rate: 1.0 }]);
        let mut settings = settings(&endpoint);
        settings.simulated_credentials = false;
        settings.sts_endpoint = Some(endpoint);
        settings.web_identity = Some(WebIdentity {
            role_arn: "arn:aws:iam::210987654321:role/broker".into(),
            token_file: token.path().into(),
            session_name: "ecr-broker".into(),
        });
        let failure = fetch(&aws(settings).await, HOST).await.unwrap_err();
        assert_eq!(failure.class == FailureClass::Denied, denied, "{fault:?}");
        assert_ne!(failure.class, FailureClass::NoCredentials, "{fault:?}: the identity is not missing");
        assert_eq!(controls.calls(), 0, "ECR is not called");
    }
}

fn profile(roles: &[&str], access: Access, repositories: &[&str]) -> Profile {
    Profile {
        name: "ci".into(),
        role_chain: roles.iter().map(|role| role.parse().unwrap()).collect(),
        access,
        repositories: repositories.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        extra: ExtraPermissions::default(),
        session_tags: SessionTags::default(),
        attribution: Attribution::Broker,
        source_identity: false,
        verify: None,
    }
}

fn key_of(profile: &str, host: &str) -> CredentialKey {
    CredentialKey { profile: profile.into(), ..key(host) }
}

#[tokio::test]
async fn first_roles_of_a_chain_are_assumed_once_and_the_last_for_each_registry() {
    let (endpoint, controls) = simulate().await;
    let mut settings = settings(&endpoint);
    settings.sts_endpoint = Some(endpoint);
    let chain = ["arn:aws:iam::210987654321:role/hub", "arn:{partition}:iam::{account}:role/ecr-pull"];
    let narrow = profile(&chain, Access::Pull, &["team-a/*"]);
    settings.profiles = vec![narrow, Profile { name: "full".into(), ..profile(&chain, Access::Full, &[]) }];
    let aws = aws(settings).await;
    let regions = ["eu-central-1", "eu-west-1", "us-east-1", "us-west-2"];
    let keys = |profile: &str| -> Vec<_> {
        let host = |region: &&str| format!("333333333333.dkr.ecr.{region}.amazonaws.com");
        regions.iter().map(|region| key_of(profile, &host(region))).collect()
    };
    for (profile, assumed, why) in [
        ("ci", 5, "one hub, and a session policy for each region"),
        ("full", 7, "one hub, and without a policy one session for all regions"),
        ("ci", 7, "all sessions are cached"),
    ] {
        let keys = keys(profile);
        let fetched = futures_util::future::join_all(keys.iter().map(|key| fetch_key(&aws, key))).await;
        assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
        assert_eq!(controls.calls_to(Service::Sts, "eu-central-1"), assumed, "{why}");
    }
    fetch_key(&aws, &key_of("ci", "444444444444.dkr.ecr.eu-central-1.amazonaws.com")).await.unwrap();
    assert_eq!(controls.calls_to(Service::Sts, "eu-central-1"), 8, "another account has another last role");
    fetch_key(&aws, &key_of("default", HOST)).await.unwrap();
    assert_eq!(controls.calls_to(Service::Sts, "eu-central-1"), 8, "the broker's own identity assumes no role");
}

/// A registry refused a token: AWS may have deleted the session's role, and created it again under its name.
#[tokio::test]
async fn new_session_is_assumed_by_the_whole_chain_only_on_demand() {
    let (endpoint, controls) = simulate().await;
    let mut settings = settings(&endpoint);
    settings.sts_endpoint = Some(endpoint);
    let chain = ["arn:aws:iam::210987654321:role/hub", "arn:{partition}:iam::{account}:role/ecr-pull"];
    settings.profiles = vec![profile(&chain, Access::Pull, &[])];
    let aws = aws(settings).await;
    let request = |new_session| FetchRequest { new_session, ..fetch_request(key_of("ci", HOST)) };
    for (new_session, assumed) in [(false, 2), (false, 2), (true, 4), (false, 4)] {
        aws.fetch(&request(new_session)).await.unwrap();
        assert_eq!(controls.calls_to(Service::Sts, "eu-central-1"), assumed);
    }
    // The broker's own identity is looked up again.
    aws.fetch(&FetchRequest { new_session: true, ..fetch_request(key(HOST)) }).await.unwrap();
}

#[tokio::test]
async fn attributed_callers_have_separate_sessions_with_source_identity() {
    let (endpoint, controls) = simulate().await;
    let mut settings = settings(&endpoint);
    settings.sts_endpoint = Some(endpoint);
    let chain = ["arn:aws:iam::210987654321:role/hub", "arn:aws:iam::333333333333:role/ecr-pull"];
    let attributed =
        Profile { attribution: Attribution::Caller, source_identity: true, ..profile(&chain, Access::Pull, &[]) };
    settings.profiles = vec![attributed.clone()];
    let aws = aws(settings).await;
    let mut names = Vec::new();
    for caller in ["spiffe://prod.example/a", "spiffe://prod.example/b", "spiffe://prod.example/a"] {
        let caller = attributed.session_of(&caller.parse().unwrap()).unwrap();
        names.push(attributed.session_name(caller.as_ref()));
        fetch_key(&aws, &CredentialKey { caller, ..key_of("ci", HOST) }).await.unwrap();
    }
    let [a, b, _] = &names[..] else { panic!("{names:?}") };
    let session = |role: &str, name: &String| (format!("arn:aws:sts::{role}/{name}"), Some(name.clone()));
    let (hub, pull) = ("210987654321:assumed-role/hub", "333333333333:assumed-role/ecr-pull");
    assert_eq!(controls.sessions(), [session(hub, a), session(pull, a), session(hub, b), session(pull, b)]);
}

/// Returns a profile with a transitive tag of one claim and another tag of another.
fn tagged() -> Profile {
    let tag = |key: &str, claim: &str, is_transitive| SessionTag {
        key: key.into(),
        value: claim.parse().unwrap(),
        is_transitive,
    };
    let chain = ["arn:aws:iam::210987654321:role/hub", "arn:aws:iam::333333333333:role/ecr-pull"];
    let tags = vec![tag("team", "claim:namespace_path", true), tag("repo", "claim:repository", false)];
    Profile { session_tags: SessionTags(tags), ..profile(&chain, Access::Pull, &[]) }
}

fn job(subject: &str, team: &str, repository: &str) -> Caller {
    let claims = [("namespace_path", team), ("repository", repository)];
    let claims = claims.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    format!("jwt:gitlab:{subject}").parse::<Caller>().unwrap().with_claims(claims).unwrap()
}

#[tokio::test]
async fn session_tags_reach_their_roles_and_equal_ones_share_a_session() {
    let (endpoint, controls) = simulate().await;
    let mut settings = settings(&endpoint);
    settings.sts_endpoint = Some(endpoint);
    let tagged = tagged();
    settings.profiles = vec![tagged.clone()];
    let aws = aws(settings).await;
    let fetch = async |caller: &Caller| {
        let caller = tagged.session_of(caller).unwrap();
        fetch_key(&aws, &CredentialKey { caller, ..key_of("ci", HOST) }).await.unwrap();
    };
    for caller in [job("1", "a", "a/app"), job("2", "a", "a/app"), job("3", "a", "a/lib"), job("4", "b#", "b/app")] {
        fetch(&caller).await;
    }
    let tag = |key: &str, value: &str, is_transitive| (key.to_owned(), value.to_owned(), is_transitive);
    let (a, app, lib) = (tag("team", "a", true), tag("repo", "a/app", false), tag("repo", "a/lib", false));
    let sessions = controls.session_tags();
    assert_eq!(sessions[..4], [vec![a.clone()], vec![a.clone(), app], vec![a.clone()], vec![a, lib]]);
    let [hub, pull] = &sessions[4..] else { panic!("{sessions:?}") };
    assert!(hub[0].1.starts_with("b_.") && hub[0] == pull[0] && pull[1].1 == "b/app", "{hub:?} {pull:?}");
}

#[tokio::test]
async fn role_that_refuses_tags_is_a_denial_that_names_the_action() {
    let (endpoint, controls) = simulate().await;
    let mut settings = settings(&endpoint);
    settings.sts_endpoint = Some(endpoint);
    settings.profiles = vec![tagged()];
    controls.refuse_tags(&["arn:aws:iam::333333333333:role/ecr-pull"]);
    let caller = tagged().session_of(&job("1", "a", "a/app")).unwrap();
    let key = CredentialKey { caller, ..key_of("ci", HOST) };
    let failure = fetch_key(&aws(settings).await, &key).await.unwrap_err();
    assert_eq!((failure.class, failure.refusal), (FailureClass::Denied, Some(AwsRefusal::TagSession)));
    let text = failure.to_string();
    assert!(text.starts_with("AWS denied the broker session tags (AccessDenied); allow sts:TagSession"), "{text}");
    assert_eq!(controls.calls(), 0, "ECR is not called");
}

#[tokio::test]
async fn roles_beyond_the_budget_of_sts_are_refused_with_a_delay() {
    let (endpoint, controls) = simulate().await;
    let mut settings = settings(&endpoint);
    settings.sts_endpoint = Some(endpoint);
    settings.sts_calls_per_second = NonZeroU32::MIN;
    settings.profiles = vec![profile(&["arn:aws:iam::{account}:role/ecr-pull"], Access::Full, &[])];
    let aws = aws(settings).await;
    let key = |account: u32| key_of("ci", &format!("{account:012}.dkr.ecr.eu-central-1.amazonaws.com"));
    for account in [1, 2, 1] {
        fetch_key(&aws, &key(account)).await.unwrap();
    }
    let failure = fetch_key(&aws, &key(3)).await.unwrap_err();
    assert_eq!((failure.class, failure.stage), (FailureClass::Overloaded, Stage::Identity));
    assert!(failure.retry_after.is_some_and(|delay| delay <= Duration::from_secs(1)), "{failure:?}");
    assert_eq!(failure.to_string(), "the broker's budget of STS calls is used up; retry shortly");
    assert_eq!(controls.calls_to(Service::Sts, "eu-central-1"), 2, "STS is not called");
    fetch_key(&aws, &key(2)).await.unwrap();
}

#[tokio::test]
async fn policy_and_tags_that_are_too_large_are_told_apart_from_other_refusals() {
    let (endpoint, controls) = simulate().await;
    let mut settings = settings(&endpoint);
    settings.sts_endpoint = Some(endpoint);
    settings.profiles = vec![tagged()];
    let caller = tagged().session_of(&job("1", &"a".repeat(250), &"b".repeat(250))).unwrap();
    let key = CredentialKey { caller, ..key_of("ci", HOST) };
    let failure = fetch_key(&aws(settings).await, &key).await.unwrap_err();
    assert_eq!(failure.refusal, Some(AwsRefusal::PackedPolicyTooLarge));
    let text = failure.to_string();
    assert!(text.ends_with("(PackedPolicyTooLarge); shorten the profile's repositories or session_tags"), "{text}");
    assert_eq!(controls.calls(), 0, "ECR is not called");
}

#[tokio::test]
async fn registry_without_account_gets_the_roles_account_or_an_error() {
    let (endpoint, controls) = simulate().await;
    for (role, account) in
        [("arn:aws:iam::210987654321:role/hub", Some("210987654321")), ("arn:aws:iam::{account}:role/ecr-pull", None)]
    {
        let mut settings = settings(&endpoint);
        settings.sts_endpoint = Some(endpoint.clone());
        settings.profiles = vec![profile(&[role], Access::Full, &[])];
        let nameless = PrivateRegistry::new(None, "eu-west-1".parse().unwrap(), EndpointVariant::default()).unwrap();
        let wanted = CredentialKey { registry: Registry::Private(nameless), ..key_of("ci", HOST) };
        let result = fetch_key(&aws(settings).await, &wanted).await;
        assert_eq!(result.ok().map(|credential| credential.account().unwrap().to_string()).as_deref(), account);
    }
    assert_eq!(controls.calls(), 1);
}

#[tokio::test]
async fn unknown_profile_never_falls_back_to_the_brokers_identity() {
    let (endpoint, controls) = simulate().await;
    let failure = fetch_key(&aws(settings(&endpoint)).await, &key_of("no-such", HOST)).await.unwrap_err();
    assert_eq!((failure.class, controls.calls()), (FailureClass::InvalidResponse, 0));
}

/// AWS rejects every identity in a region that is switched off.
#[tokio::test]
async fn rejecting_registry_costs_two_sessions_and_evicts_no_others() {
    let (sts, controls) = simulate().await;
    let error = br#"{"__type":"UnrecognizedClientException","message":"The security token is invalid."}"#;
    let rejecting = responding("400 Bad Request", error.to_vec()).await;
    let mut settings = settings(&sts);
    settings.ecr_endpoints.insert("af-south-1".into(), rejecting);
    settings.sts_endpoint = Some(sts);
    settings.profiles = vec![profile(&["arn:aws:iam::210987654321:role/hub"], Access::Pull, &[])];
    let aws = aws(settings).await;
    let assumed = || controls.calls_to(Service::Sts, "eu-central-1");
    fetch_key(&aws, &key_of("ci", HOST)).await.unwrap();
    assert_eq!(assumed(), 1);
    for number in 0..10 {
        let off = key_of("ci", &format!("{number:012}.dkr.ecr.af-south-1.amazonaws.com"));
        assert_eq!(fetch_key(&aws, &off).await.unwrap_err().class, FailureClass::NoCredentials);
    }
    assert_eq!(assumed(), 21);
    fetch_key(&aws, &key_of("ci", HOST)).await.unwrap();
    assert_eq!(assumed(), 21, "the first session is still cached");
}

#[tokio::test]
async fn p5_sts_access_denied_for_a_profile_role_is_a_denial() {
    let (endpoint, controls) = simulate().await;
    controls.set_faults(vec![FaultRate { fault: Fault::Denied, rate: 1.0 }]);
    let mut settings = settings(&endpoint);
    settings.sts_endpoint = Some(endpoint);
    settings.profiles = vec![profile(&["arn:aws:iam::210987654321:role/gone"], Access::Pull, &[])];
    let failure = fetch_key(&aws(settings).await, &key_of("ci", HOST)).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Denied);
    let text = failure.to_string();
    assert!(text.contains("denied the broker a role (AccessDenied)") && text.contains("sts:AssumeRole"), "{text}");
    assert!(!text.contains("arn:"), "{text}");
    assert_eq!(controls.calls(), 0, "ECR is not called");
}

/// Starts a server that refuses every request with this code, at a time that differs from this machine's by `minutes`.
async fn refusing(code: &str, message: &str, minutes: i64) -> String {
    let now = DateTime::from(SystemClock::new().now().wall);
    let date = DateTime::from_secs(now.secs() + 60 * minutes).fmt(Format::HttpDate).unwrap();
    let status: &'static str = Box::leak(format!("403 Forbidden\r\ndate: {date}").into_boxed_str());
    responding(status, format!(r#"{{"__type": "{code}", "message": "{message}"}}"#).into_bytes()).await
}

#[tokio::test]
async fn wrong_clock_is_blamed_with_the_error_code_and_the_skew() {
    let expired = "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z";
    let future = "Signature not yet current: 20260101T001000Z is still later than 20260101T000000Z";
    let (behind, ahead) = (Some("behind ("), Some("ahead ("));
    for (code, message, minutes, skew) in [
        ("RequestTimeTooSkewed", "", 0, None),
        ("RequestExpired", "", 60, behind),
        ("InvalidSignatureException", expired, 0, None),
        ("InvalidSignatureException", expired, 10, behind),
        ("InvalidSignatureException", future, -10, ahead),
    ] {
        let endpoint = refusing(code, message, minutes).await;
        let failure = fetch(&aws(settings(&endpoint)).await, HOST).await.unwrap_err();
        let text = failure.to_string();
        assert_eq!(failure.class, FailureClass::ClockSkewed, "{code} {minutes}");
        assert!(text.contains("clock") && text.contains(&format!("({code})")), "{text}");
        assert_eq!(failure.clock_skew.is_some(), skew.is_some(), "{text}");
        assert!(skew.is_none_or(|skew| text.contains(skew)), "{text}");
        assert!(!text.contains("Signature "), "{text}");
    }
}

#[tokio::test]
async fn refused_identity_is_not_blamed_on_a_clock_that_did_not_cause_it() {
    let mismatch = "The request signature we calculated does not match the signature you provided.";
    let wrong_key = "rejects the broker's signature (InvalidSignatureException)";
    for (code, message, minutes, words) in [
        ("UnrecognizedClientException", "no", 0, "does not know the broker's access key in eu-central-1 (Unrecognized"),
        ("InvalidSignatureException", "no", 0, wrong_key),
        ("InvalidSignatureException", mismatch, 10, wrong_key),
        ("InvalidSignatureException", mismatch, -10, wrong_key),
        ("ExpiredTokenException", "no", 0, "has expired (ExpiredTokenException)"),
        ("ExpiredTokenException", "no", -10, "has expired (ExpiredTokenException)"),
    ] {
        let endpoint = refusing(code, message, minutes).await;
        let failure = fetch(&aws(settings(&endpoint)).await, HOST).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::NoCredentials, "{code}");
        assert!(failure.to_string().contains(words), "{failure}");
    }
}

/// With a slow clock the SDK uses a role session past its end.
#[tokio::test]
async fn expired_session_with_a_slow_clock_is_assumed_again() {
    let (sts, controls) = simulate().await;
    let mut settings = settings(&sts);
    settings.ecr_endpoints.insert("eu-central-1".into(), refusing("ExpiredTokenException", "expired", 5).await);
    settings.sts_endpoint = Some(sts);
    settings.profiles = vec![profile(&["arn:aws:iam::210987654321:role/hub"], Access::Full, &[])];
    let failure = fetch_key(&aws(settings).await, &key_of("ci", HOST)).await.unwrap_err();
    assert_eq!(controls.calls_to(Service::Sts, "eu-central-1"), 2, "once more after the refusal");
    assert_eq!(failure.class, FailureClass::NoCredentials);
    let text = failure.to_string();
    assert!(text.contains("has expired, and the broker's clock is ") && text.contains(" behind (Expired"), "{text}");
}

#[tokio::test]
async fn unreachable_endpoint_is_unavailable() {
    let failure = fetch(&aws(settings("http://127.0.0.1:1")).await, HOST).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unavailable);
}

#[tokio::test]
async fn web_identity_uses_the_configured_sts_and_reports_a_missing_token() {
    let (endpoint, controls) = simulate().await;
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    let mut settings = settings(&endpoint);
    settings.simulated_credentials = false;
    settings.sts_endpoint = Some(endpoint);
    settings.web_identity = Some(WebIdentity {
        role_arn: "arn:aws:iam::210987654321:role/broker".into(),
        token_file: token_file.clone(),
        session_name: "ecr-broker".into(),
    });
    let aws = aws(settings).await;
    assert_eq!(aws.status(), SourceStatus::NoCredentials, "until it is checked");
    assert_eq!(aws.check().await, SourceStatus::NoCredentials);
    assert_eq!(fetch(&aws, HOST).await.unwrap_err().class, FailureClass::NoCredentials);
    assert_eq!(aws.status(), SourceStatus::NoCredentials);
    std::fs::write(&token_file, "header.claims.signature\n").unwrap();
    assert_eq!(aws.check().await, SourceStatus::Ready);
    let registry = PrivateRegistry::new(None, "eu-west-1".parse().unwrap(), EndpointVariant::default()).unwrap();
    let mut wanted = key(HOST);
    wanted.registry = Registry::Private(registry);
    let credential = fetch_key(&aws, &wanted).await.unwrap();
    assert_eq!(credential.account().unwrap().as_str(), "210987654321", "the role's own account");
    assert!(controls.calls_to(Service::Sts, "") >= 1);
}

/// Health depends on it: the service is not serving without an identity.
#[tokio::test]
async fn status_follows_fetches_and_a_refusal_by_code_proves_an_identity() {
    let (endpoint, controls) = simulate().await;
    let mut settings = settings(&endpoint);
    settings.simulated_credentials = false;
    settings.sts_endpoint = Some(endpoint.clone());
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "header.claims.signature").unwrap();
    settings.web_identity = Some(WebIdentity {
        role_arn: "arn:aws:iam::210987654321:role/broker".into(),
        token_file: token.path().into(),
        session_name: "ecr-broker".into(),
    });
    let with_identity = aws(settings.clone()).await;
    fetch(&with_identity, HOST).await.unwrap();
    assert_eq!(with_identity.status(), SourceStatus::Ready);
    controls.set_faults(vec![FaultRate { fault: Fault::Denied, rate: 1.0 }]);
    fetch(&with_identity, HOST).await.unwrap_err();
    assert_eq!(with_identity.status(), SourceStatus::Ready, "AWS knows whom it denies");
    std::fs::remove_file(token.path()).unwrap();
    let without_identity = aws(settings).await;
    fetch(&without_identity, HOST).await.unwrap_err();
    assert_eq!(without_identity.status(), SourceStatus::NoCredentials);
    std::fs::write(token.path(), "header.claims.signature").unwrap();
    controls.set_faults(Vec::new());
    fetch(&without_identity, HOST).await.unwrap();
    assert_eq!(without_identity.status(), SourceStatus::Ready, "a fetch finds it without a check");
}

#[tokio::test]
async fn unusable_ca_bundle_is_an_error_that_names_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for path in [empty, directory.path().join("missing.pem")] {
        let mut settings = settings("http://127.0.0.1:1");
        settings.ca_bundle = Some(path.clone());
        let error = load(settings).await.unwrap_err();
        assert!(format!("{error:#}").contains(&path.display().to_string()), "{error:#}");
    }
}

fn short_lived(key: CredentialKey) -> CredentialKey {
    CredentialKey { lifetime: Lifetime::from_minutes(15), ..key }
}

#[tokio::test]
async fn short_lived_token_is_fetched_in_the_registrys_region_with_its_lifetime() {
    let (endpoint, controls) = simulate().await;
    let mut settings = settings("http://127.0.0.1:9");
    settings.signin_endpoint = Some(endpoint);
    let aws = aws(settings).await;
    let key = short_lived(key("123456789012.dkr.ecr.ap-southeast-2.amazonaws.com"));
    let credential = fetch_key(&aws, &key).await.unwrap();
    assert_eq!(controls.calls_to(Service::Signin, "ap-southeast-2"), 1);
    assert_eq!(credential.account().unwrap().as_str(), "123456789012");
    assert!(credential.upstream_request_id().is_some() && credential.minter().arn().is_none());
    let remaining = credential.remaining(credential.received());
    assert!(remaining <= Duration::from_mins(15) && remaining > Duration::from_mins(14), "{remaining:?}");
    controls.set_token_lifetime(Duration::from_mins(11));
    let shorter = fetch_key(&aws, &key).await.unwrap();
    assert!(shorter.remaining(shorter.received()) <= Duration::from_mins(11), "AWS may issue a shorter one");
}

/// The simulated AWS checks the session policy: a session for ordinary tokens could not request short-lived ones.
#[tokio::test]
async fn narrowed_session_may_request_short_lived_tokens() {
    let (endpoint, controls) = simulate().await;
    let mut settings = settings(&endpoint);
    settings.sts_endpoint = Some(endpoint.clone());
    settings.signin_endpoint = Some(endpoint);
    settings.profiles = vec![profile(&["arn:aws:iam::333333333333:role/ecr-pull"], Access::Pull, &["team-a/*"])];
    let aws = aws(settings).await;
    let ordinary = fetch_key(&aws, &key_of("ci", HOST)).await.unwrap();
    let short = fetch_key(&aws, &short_lived(key_of("ci", HOST))).await.unwrap();
    assert_ne!(ordinary.id(), short.id());
    assert_eq!(short.minter().arn(), Some("arn:aws:iam::333333333333:role/ecr-pull"));
    assert_eq!(controls.sessions().len(), 2, "each kind of token has a session with its policy");
    fetch_key(&aws, &CredentialKey { lifetime: Lifetime::from_minutes(30), ..key_of("ci", HOST) }).await.unwrap();
    assert_eq!(controls.sessions().len(), 2, "the policy does not depend on the lifetime");
}

#[tokio::test]
async fn p12_broken_answer_with_a_short_lived_token_is_refused() {
    let token = |token: &str, seconds: &str| {
        format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{seconds}}}"#).into_bytes()
    };
    for (status, body, class) in [
        ("200 OK", token("secret", "901"), FailureClass::InvalidResponse),
        ("200 OK", token("secret", "0"), FailureClass::InvalidResponse),
        ("200 OK", token("secret", "9223372036854775807"), FailureClass::InvalidResponse),
        ("200 OK", token("secret", "-1"), FailureClass::InvalidResponse),
        ("200 OK", token(&"x".repeat(4097), "900"), FailureClass::InvalidResponse),
        ("200 OK", vec![b'x'; 1 << 20], FailureClass::InvalidResponse),
        ("200 OK", b"\xff".to_vec(), FailureClass::InvalidResponse),
        ("200 OK", Vec::new(), FailureClass::InvalidResponse),
        ("302 Found", Vec::new(), FailureClass::InvalidResponse),
        ("429 Too Many Requests", b"<html>".to_vec(), FailureClass::Throttled),
        ("500 Internal Server Error", Vec::new(), FailureClass::Unavailable),
        ("503 Service Unavailable", b"{}".to_vec(), FailureClass::Unavailable),
        ("403 Forbidden", b"proxy".to_vec(), FailureClass::InvalidResponse),
    ] {
        let mut settings = settings("http://127.0.0.1:9");
        settings.signin_endpoint = Some(responding(status, body.clone()).await);
        let failure = fetch_key(&aws(settings).await, &short_lived(key(HOST))).await.unwrap_err();
        assert_eq!(failure.class, class, "{status} {}", String::from_utf8_lossy(&body[..body.len().min(80)]));
        assert!(!format!("{failure} {failure:?}").contains("secret"));
    }
    let mut settings = settings("http://127.0.0.1:9");
    settings.signin_endpoint = Some(responding("200 OK", token("secret", "900")).await);
    let credential = fetch_key(&aws(settings).await, &short_lived(key(HOST))).await.unwrap();
    assert_eq!(credential.password().expose(), "secret");
    assert!(!format!("{credential:?}").contains("secret"));
}

#[tokio::test]
async fn registry_without_a_signin_endpoint_is_refused_without_a_call() {
    let (endpoint, controls) = simulate().await;
    let isolated = "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov";
    let fips = "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com";
    let without = aws(settings(&endpoint)).await;
    for host in [isolated, fips] {
        let failure = fetch_key(&without, &short_lived(key(host))).await.unwrap_err();
        assert_eq!((failure.class, failure.code), (FailureClass::Misconfigured, None), "{host}");
    }
    assert_eq!(controls.calls(), 0);
    // An endpoint of the configuration is used in each partition, and on loopback for FIPS.
    let mut settings = settings(&endpoint);
    settings.signin_endpoint = Some(endpoint);
    let with = aws(settings).await;
    for host in [isolated, fips] {
        fetch_key(&with, &short_lived(key(host))).await.unwrap();
    }
    assert_eq!(controls.calls(), 2);
}
