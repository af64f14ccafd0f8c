//! The gRPC API over the wire: requests, responses and errors.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod raw_frames;
mod support;

use std::time::{Duration, SystemTime};

use ecr_broker::error::FailureClass;
use ecr_broker::pb;
use ecr_broker::pb::batch_result::Result as Outcome;
use ecr_broker::pb::get_registry_credentials_request::Target;
use ecr_broker::pb::registry_access::Target as Listed;
use ecr_broker::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use raw_frames::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Raw, WHOAMI, block, call_fields};
use support::*;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

async fn get(
    client: &mut Client,
    request: pb::GetRegistryCredentialsRequest,
) -> Result<pb::RegistryCredentials, Status> {
    Ok(client.get_registry_credentials(request).await?.into_inner().credentials.unwrap())
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

fn to(target: Target) -> pb::GetRegistryCredentialsRequest {
    pb::GetRegistryCredentialsRequest { target: Some(target), ..Default::default() }
}

#[tokio::test]
async fn private_registry_response_has_every_field() {
    let broker = TestBroker::start();
    let answer = get(&mut broker.client().await, request(&format!("https://{HOST}/team/app:1"))).await.unwrap();
    assert_eq!(answer.registry, HOST);
    assert_eq!(answer.endpoint, format!("https://{HOST}"));
    assert_eq!((answer.username.as_str(), answer.password.as_str()), ("AWS", "password-1"));
    let issued: SystemTime = answer.issue_time.unwrap().try_into().unwrap();
    let expires: SystemTime = answer.expire_time.unwrap().try_into().unwrap();
    assert_eq!(expires.duration_since(issued).unwrap(), 12 * HOUR);
    assert_eq!(answer.valid_for.unwrap().seconds, 12 * 3_600);
    assert!((54 * 60..=66 * 60).contains(&answer.refresh_after.unwrap().seconds));
    assert_eq!(answer.registry_type(), pb::RegistryType::Private);
    assert_eq!(answer.auth_scheme(), pb::AuthScheme::Basic);
    assert_eq!(answer.cache_status(), pb::CacheStatus::Miss);
    assert_eq!((answer.account_id.as_str(), answer.region.as_str()), ("123456789012", "eu-central-1"));
    assert_eq!((answer.profile.as_str(), answer.credential_id.len()), ("default", 32));
    let again = get(&mut broker.client().await, request(HOST)).await.unwrap();
    assert_eq!(again.cache_status(), pb::CacheStatus::Hit);
    assert_eq!(again.credential_id, answer.credential_id);
}

#[tokio::test]
async fn p14_valid_for_counts_on_the_clock_with_less_left() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    get(&mut client, request(HOST)).await.unwrap();
    // Before the refresh.
    broker.clock.advance(HOUR / 2);
    broker.clock.step_wall_back(HOUR / 2);
    let answer = get(&mut client, request(HOST)).await.unwrap();
    assert_eq!((answer.cache_status(), answer.valid_for.unwrap().seconds), (pb::CacheStatus::Hit, 23 * 1_800));
    broker.clock.step_wall_forward(3 * HOUR);
    let answer = get(&mut client, request(HOST)).await.unwrap();
    assert_eq!(answer.valid_for.unwrap().seconds, 9 * 3_600);
}

#[tokio::test]
async fn public_registry_response_names_the_requested_host() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    for (target, host) in [
        (Target::PublicRegistry(pb::PublicRegistry {}), "public.ecr.aws"),
        (Target::Registry("ecr-public.aws.com".into()), "ecr-public.aws.com"),
    ] {
        let answer = get(&mut client, to(target)).await.unwrap();
        assert_eq!((answer.registry.as_str(), answer.region.as_str()), (host, "us-east-1"));
        assert_eq!(answer.account_id, "");
        assert_eq!(answer.registry_type(), pb::RegistryType::Public);
        assert_eq!(answer.auth_scheme(), pb::AuthScheme::Bearer);
    }
}

#[tokio::test]
async fn private_registry_parts_default_to_the_broker_and_aws() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    for (parts, host) in [
        (pb::PrivateRegistry::default(), "999999999999.dkr.ecr.eu-central-1.amazonaws.com"),
        (
            pb::PrivateRegistry { account_id: "000000000001".into(), ..Default::default() },
            "000000000001.dkr.ecr.eu-central-1.amazonaws.com",
        ),
        (
            pb::PrivateRegistry { region: "us-gov-west-1".into(), fips: true, dual_stack: true, ..Default::default() },
            "999999999999.dkr-ecr-fips.us-gov-west-1.on.aws",
        ),
    ] {
        assert_eq!(get(&mut client, to(Target::PrivateRegistry(parts))).await.unwrap().registry, host);
    }
}

#[tokio::test]
async fn invalid_request_error_names_the_field() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    let good = || request(HOST);
    let parts = |parts| to(Target::PrivateRegistry(parts));
    let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    for (name, request, reason_expected, field) in [
        ("no target", pb::GetRegistryCredentialsRequest::default(), "REQUEST_INVALID", "target"),
        ("not an ECR host", request("ghcr.io/x"), "REGISTRY_NOT_ECR", "registry"),
        (
            "not an ECR host, and a negative validity",
            pb::GetRegistryCredentialsRequest { min_validity: negative, ..request("ghcr.io/x") },
            "REGISTRY_NOT_ECR",
            "registry",
        ),
        ("13 digits", request("1234567890123.dkr.ecr.eu-central-1.amazonaws.com"), "REGISTRY_INVALID", "registry"),
        (
            "unknown region",
            parts(pb::PrivateRegistry { region: "x".into(), ..Default::default() }),
            "REGISTRY_INVALID",
            "private_registry.region",
        ),
        (
            "invalid account",
            parts(pb::PrivateRegistry { account_id: "1".into(), ..Default::default() }),
            "REGISTRY_INVALID",
            "private_registry.account_id",
        ),
        (
            "unknown profile",
            pb::GetRegistryCredentialsRequest { profile: "ci".into(), ..good() },
            "PROFILE_UNKNOWN",
            "profile",
        ),
        (
            "negative validity",
            pb::GetRegistryCredentialsRequest { min_validity: negative, ..good() },
            "REQUEST_INVALID",
            "min_validity",
        ),
        (
            "invalid credential ID",
            pb::GetRegistryCredentialsRequest { rejected_credential_id: "x".into(), ..good() },
            "REQUEST_INVALID",
            "rejected_credential_id",
        ),
    ] {
        let status = get(&mut client, request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, reason_expected), "{name}");
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field, "{name}");
        assert!(details.request_info().is_some() && details.retry_info().is_none(), "{name}");
    }
    assert_eq!(broker.source.calls(), 0);
}

/// An error that is too long for the response's trailers would reset the stream, or the whole connection.
#[tokio::test]
async fn field_of_60_kib_is_rejected_with_an_error_that_arrives() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    let parts = |parts| to(Target::PrivateRegistry(parts));
    for filler in ["x", "\u{7}", "\u{10ffff}"] {
        let long = filler.repeat(60_000 / filler.len());
        for (request, expected) in [
            (request(&long), "REGISTRY_INVALID"),
            (request(&filler.repeat(2_000 / filler.len())), "REGISTRY_INVALID"),
            (request(&format!("{}://a", &filler.repeat(400))), "REGISTRY_INVALID"),
            (pb::GetRegistryCredentialsRequest { profile: long.clone(), ..request(HOST) }, "REQUEST_INVALID"),
            (
                pb::GetRegistryCredentialsRequest { rejected_credential_id: long.clone(), ..request(HOST) },
                "REQUEST_INVALID",
            ),
            (parts(pb::PrivateRegistry { region: long.clone(), ..Default::default() }), "REGISTRY_INVALID"),
            (parts(pb::PrivateRegistry { account_id: long.clone(), ..Default::default() }), "REGISTRY_INVALID"),
        ] {
            let status = get(&mut client, request).await.unwrap_err();
            assert_eq!(reason(&status), expected, "{status:?}");
        }
        let page = pb::ListRegistriesRequest { page_size: 0, page_token: long };
        assert_eq!(reason(&client.list_registries(page).await.unwrap_err()), "REQUEST_INVALID");
    }
}

/// Returns a request for a registry of this region, by its host or by its parts.
fn in_region(region: &str) -> [pb::GetRegistryCredentialsRequest; 2] {
    let parts = pb::PrivateRegistry { region: region.into(), ..Default::default() };
    [request(&format!("123456789012.dkr.ecr.{region}.amazonaws.com")), to(Target::PrivateRegistry(parts))]
}

#[tokio::test]
async fn region_that_neither_aws_nor_the_configuration_has_is_invalid() {
    let broker = TestBroker::start_with(|setup| {
        setup.config.aws.regions = vec!["eu-north-2".parse().unwrap()];
        setup.config.keep_warm = vec!["123456789012.dkr.ecr.nz-north-1.amazonaws.com".parse().unwrap()];
        setup.config.aws.ecr_endpoints = [("th-west-1".to_owned(), "https://ecr.example".to_owned())].into();
        let hidden = "123456789012.dkr.ecr.no-east-1.amazonaws.com".parse().unwrap();
        setup.config.aliases.add("proxy.example", hidden).unwrap();
    });
    let mut client = broker.client().await;
    for region in ["eu-north-2", "nz-north-1", "th-west-1", "no-east-1", "us-isof-south-1"] {
        let [by_host, by_parts] = in_region(region);
        if region != "us-isof-south-1" {
            get(&mut client, by_host).await.unwrap();
        }
        get(&mut client, by_parts).await.unwrap();
    }
    for region in ["eu-north-3", "aa-aab-1", "us-gov-south-1", &format!("aa-{}-1", "b".repeat(27))] {
        for (request, field) in in_region(region).into_iter().zip(["registry", "private_registry.region"]) {
            let status = get(&mut client, request).await.unwrap_err();
            assert_eq!(reason(&status), "REGISTRY_INVALID", "{region}");
            assert!(status.message().contains("aws.regions") && status.message().contains(region), "{status:?}");
            let details = status.get_error_details();
            assert_eq!(details.bad_request().unwrap().field_violations[0].field, field);
        }
    }
}

#[tokio::test]
async fn profile_that_cannot_exist_is_invalid_before_any_decision() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    for profile in ["x".repeat(33).as_str(), "a b", "\u{202e}ci", "c\u{9b}i", "ci\n", "k\u{e4}se"] {
        let asked = pb::GetRegistryCredentialsRequest { profile: profile.into(), ..request(HOST) };
        let status = get(&mut client, asked).await.unwrap_err();
        assert_eq!(reason(&status), "REQUEST_INVALID", "{profile:?}");
        assert_eq!(status.get_error_details().bad_request().unwrap().field_violations[0].field, "profile");
    }
    let asked = pb::GetRegistryCredentialsRequest { profile: "x".repeat(32), ..request(HOST) };
    assert_eq!(reason(&get(&mut client, asked).await.unwrap_err()), "PROFILE_UNKNOWN");
}

#[tokio::test]
async fn min_validity_above_the_limit_is_rejected_without_a_call() {
    let broker = TestBroker::start();
    let min_validity = Some(prost_types::Duration { seconds: 10 * 3600 + 1, nanos: 0 });
    let status =
        get(&mut broker.client().await, pb::GetRegistryCredentialsRequest { min_validity, ..request(HOST) }).await;
    let status = status.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "VALIDITY_UNSATISFIABLE"));
    assert!(
        status.message().contains("10h 1s") && status.message().contains("max_min_validity"),
        "{}",
        status.message()
    );
    assert_eq!(broker.source.calls(), 0);
}

#[tokio::test]
async fn request_of_2_mib_is_rejected_and_the_connection_survives() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    let status = get(&mut client, request(&"x".repeat(2 << 20))).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    get(&mut client, request(HOST)).await.unwrap();
}

#[tokio::test]
async fn batch_results_keep_order_and_failures_stay_separate() {
    let broker = TestBroker::start();
    let requests = vec![request(HOST), request("ghcr.io"), request("public.ecr.aws"), request(HOST)];
    let batch = pb::BatchGetRegistryCredentialsRequest { requests };
    let results = broker.client().await.batch_get_registry_credentials(batch).await.unwrap().into_inner().results;
    let shape: Vec<_> = results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            Outcome::Credentials(credentials) => credentials.registry,
            Outcome::Error(error) => format!("{} with {} details", error.code, error.details.len()),
        })
        .collect();
    assert_eq!(shape, [HOST, "3 with 3 details", "public.ecr.aws", HOST]);
    assert_eq!(broker.source.calls(), 2);
}

#[tokio::test]
async fn batch_size_must_be_1_to_100() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    for (size, ok) in [(0, false), (100, true), (101, false), (1_000, false)] {
        let requests = (0..size).map(|number| request(&host(number))).collect();
        let answer = client.batch_get_registry_credentials(pb::BatchGetRegistryCredentialsRequest { requests }).await;
        assert_eq!(answer.is_ok(), ok, "{size}");
        if let Err(status) = answer {
            assert_eq!(reason(&status), "REQUEST_INVALID");
        }
    }
}

/// Two bytes are enough for an item. Only those that a list may have are decoded.
#[tokio::test]
async fn lists_of_thousands_of_empty_items_are_refused_by_their_number() {
    let broker = TestBroker::start();
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Deflate)] {
        let mut client = broker.client().await;
        client = if let Some(encoding) = encoding { client.send_compressed(encoding) } else { client };
        let batch = pb::BatchGetRegistryCredentialsRequest {
            requests: vec![pb::GetRegistryCredentialsRequest::default(); 32_700],
        };
        let refused = client.batch_get_registry_credentials(batch).await.unwrap_err();
        assert_eq!(reason(&refused), "REQUEST_INVALID", "{refused:?}");
        let watch = pb::WatchRegistryCredentialsRequest {
            requests: Vec::new(),
            known_credential_ids: vec![String::new(); 32_700],
        };
        let refused = client.watch_registry_credentials(watch).await.unwrap_err();
        assert_eq!(reason(&refused), "REQUEST_INVALID", "{refused:?}");
        get(&mut client, request(HOST)).await.unwrap();
    }
}

#[tokio::test]
async fn list_has_cached_and_allowed_registries_and_no_secret() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    get(&mut client, request(HOST)).await.unwrap();
    let calls = broker.source.calls();
    let list = client.list_registries(pb::ListRegistriesRequest::default()).await.unwrap().into_inner();
    let find = |name: &str| {
        list.registries.iter().find(|access| match access.target.as_ref().unwrap() {
            Listed::Registry(registry) => registry == name,
            Listed::RegistryPattern(pattern) => pattern == name,
        })
    };
    assert!(find(HOST).unwrap().expire_time.is_some());
    assert!(find("public.ecr.aws").unwrap().expire_time.is_none());
    assert!(matches!(find("*.dkr.ecr.*.amazonaws.com").unwrap().target, Some(Listed::RegistryPattern(_))));
    assert!(!format!("{list:?}").contains("password"));
    assert_eq!(broker.source.calls(), calls);
}

#[tokio::test]
async fn upstream_failure_has_its_reason_and_retry_info() {
    for (class, code, expected, retry) in [
        (FailureClass::Throttled, Code::ResourceExhausted, "AWS_THROTTLED", true),
        (FailureClass::Denied, Code::PermissionDenied, "AWS_ACCESS_DENIED", false),
        (FailureClass::NoCredentials, Code::Unavailable, "AWS_CREDENTIALS_UNAVAILABLE", true),
        (FailureClass::Unavailable, Code::Unavailable, "AWS_UNAVAILABLE", true),
        (FailureClass::Misconfigured, Code::FailedPrecondition, "BROKER_MISCONFIGURED", false),
        (FailureClass::InvalidResponse, Code::Unavailable, "AWS_RESPONSE_INVALID", true),
    ] {
        let broker = TestBroker::start();
        broker.source.fail(class);
        let status = get(&mut broker.client().await, request(HOST)).await.unwrap_err();
        let details = status.get_error_details();
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
        assert_eq!(details.retry_info().is_some(), retry, "{class:?}");
        assert_eq!(details.error_info().unwrap().metadata["registry"], HOST);
    }
}

/// A client that leaves the deadline to the server. tonic's own channel ends the call itself at the same moment.
async fn client_without_timeout(
    broker: std::net::SocketAddr,
) -> RegistryCredentialsServiceClient<impl GrpcService<Body, ResponseBody = Incoming, Error = hyper::Error>> {
    let stream = tokio::net::TcpStream::connect(broker).await.unwrap();
    // Without TCP_NODELAY the request's body would wait for the acknowledgement of its headers.
    stream.set_nodelay(true).unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let service = tower::service_fn(move |request| sender.clone().send_request(request));
    RegistryCredentialsServiceClient::with_origin(service, format!("http://{broker}").parse().unwrap())
}

#[tokio::test]
async fn p2_deadline_ends_the_call_and_not_the_fetch() {
    let broker = TestBroker::start();
    broker.source.shut();
    let mut late = tonic::Request::new(request(HOST));
    late.metadata_mut().insert("grpc-timeout", "30m".parse().unwrap());
    let mut client = client_without_timeout(broker.tcp).await;
    let status = client.get_registry_credentials(late).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE"));
    assert_eq!(status.get_error_details().error_info().unwrap().metadata["registry"], HOST);
    broker.source.open();
    get(&mut broker.client().await, request(HOST)).await.unwrap();
    assert_eq!(broker.source.calls(), 1, "the fetch continued");
}

#[tokio::test]
async fn batch_part_past_its_deadline_leaves_the_others_intact() {
    let broker = TestBroker::start();
    get(&mut broker.client().await, request(HOST)).await.unwrap();
    broker.source.shut();
    let requests = vec![request(HOST), request("public.ecr.aws")];
    let mut batch = tonic::Request::new(pb::BatchGetRegistryCredentialsRequest { requests });
    batch.metadata_mut().insert("grpc-timeout", "1S".parse().unwrap());
    let results = broker.client().await.batch_get_registry_credentials(batch).await.unwrap().into_inner().results;
    assert!(matches!(&results[0].result, Some(Outcome::Credentials(credentials)) if credentials.registry == HOST));
    assert!(matches!(&results[1].result, Some(Outcome::Error(error)) if error.code == Code::DeadlineExceeded as i32));
}

#[tokio::test]
async fn panic_is_an_internal_error_and_the_broker_survives() {
    let broker = TestBroker::start();
    broker.source.then(Step::Panic);
    let mut client = broker.client().await;
    let status = get(&mut client, request(HOST)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL_ERROR"));
    assert!(!status.message().contains("scripted"));
    broker.source.then(Step::Token(12 * HOUR));
    broker.clock.advance(MINUTE);
    get(&mut client, request(HOST)).await.unwrap();
}

#[tokio::test]
async fn unknown_method_is_unimplemented() {
    let broker = TestBroker::start();
    let mut grpc = tonic::client::Grpc::new(broker.channel().await);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<pb::PublicRegistry, pb::PublicRegistry>::default();
    let path = http::uri::PathAndQuery::from_static("/ecrbroker.v1.RegistryCredentialsService/Nothing");
    let status = grpc.unary(tonic::Request::new(pb::PublicRegistry {}), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn unix_socket_serves_its_owner_and_group_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let broker = TestBroker::start();
    let mode = std::fs::metadata(&broker.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(get(&mut broker.unix_client().await, request(HOST)).await.unwrap().registry, HOST);
    let socket = broker.socket.clone();
    broker.stop().await;
    assert!(!socket.exists(), "the broker removes its socket");
}

#[tokio::test]
async fn stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = |setup: &mut Setup| {
        setup.config.server.listen.push(ecr_broker::address::ListenAddress::Unix(path.clone()));
    };
    let broker = TestBroker::start_with(listen);
    let config = ecr_broker::config::Config::load(&ecr_broker::config::Sources::default()).unwrap();
    let mut second = Setup { config, auth: ecr_broker::app::auth_material::AuthMaterial::default() };
    listen(&mut second);
    let refused = second.build(broker.source.clone(), broker.clock.clone()).unwrap_err();
    assert!(format!("{refused:#}").contains("another process listens there"), "{refused:#}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no file of the attempt is left");
    broker.stop().await;
}

#[tokio::test]
async fn peer_without_http2_is_disconnected_at_once() {
    let broker = TestBroker::start();
    let answer = answer_to(broker.tcp, b"GET / HTTP/1.1\r\nhost: broker\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(
        answer.ends_with(
            "This port speaks gRPC over HTTP/2, not HTTP/1.1. Use a gRPC client such as grpcurl or ecr-broker get.\n"
        ),
        "{answer}"
    );
    let hello = answer_to(broker.tcp, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    assert!(hello.contains("\r\n\r\nThis port speaks plaintext, not TLS. "), "{hello}");
    assert_eq!(answer_to(broker.tcp, b"\0\0\0\0").await, "");
}

/// Returns what the broker answers before it closes the connection. A reset is accepted as an end, too.
async fn answer_to(address: std::net::SocketAddr, request: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// A broker whose AWS has throttled the key of `HOST`, and hangs when it is called again.
async fn throttled_and_hanging() -> TestBroker {
    let broker = TestBroker::start();
    broker.source.fail(FailureClass::Throttled);
    get(&mut broker.client().await, request(HOST)).await.unwrap_err();
    broker.clock.advance(Duration::from_secs(1));
    broker.source.shut();
    broker
}

fn with_timeout<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(Duration::from_secs(10));
    request
}

#[tokio::test]
async fn p2_call_gets_the_cause_of_its_wait_instead_of_deadline() {
    let broker = throttled_and_hanging().await;
    let mut client = broker.client().await;
    let call = tokio::spawn(async move { client.get_registry_credentials(with_timeout(request(HOST))).await });
    broker.source.until_calls(2).await;
    // From now on the clock advances whenever all tasks wait.
    tokio::time::pause();
    let status = call.await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "AWS_THROTTLED"));
    assert!(status.get_error_details().retry_info().is_some());
}

#[tokio::test]
async fn p2_batch_parts_get_the_cause_of_their_wait_or_deadline() {
    let broker = throttled_and_hanging().await;
    let mut client = broker.client().await;
    let requests = vec![request(HOST), request(&host(7))];
    let batch = with_timeout(pb::BatchGetRegistryCredentialsRequest { requests });
    let call = tokio::spawn(async move { client.batch_get_registry_credentials(batch).await });
    broker.source.until_calls(3).await;
    tokio::time::pause();
    let results = call.await.unwrap().unwrap().into_inner().results;
    let code = |result: pb::BatchResult| match result.result.unwrap() {
        Outcome::Error(error) => Code::from(error.code),
        Outcome::Credentials(_) => panic!("AWS hangs"),
    };
    let codes: Vec<_> = results.into_iter().map(code).collect();
    // AWS_THROTTLED is known of the first, and nothing of the second.
    assert_eq!(codes, [Code::ResourceExhausted, Code::DeadlineExceeded]);
}

/// The paused clock advances whenever all tasks wait.
#[tokio::test(start_paused = true)]
async fn p8_silent_peer_is_disconnected() {
    use tokio::io::AsyncReadExt as _;
    let broker = TestBroker::start();
    let began = tokio::time::Instant::now();
    let mut stream = tokio::net::TcpStream::connect(broker.tcp).await.unwrap();
    _ = stream.read(&mut [0]).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test]
async fn p8_connections_per_address_are_limited() {
    let broker = TestBroker::start_with(|setup| setup.config.server.connections.max_connections_per_address = 2);
    let (mut first, mut second) = (broker.client().await, broker.client().await);
    get(&mut first, request(HOST)).await.unwrap();
    get(&mut second, request(HOST)).await.unwrap();
    let third = tonic::transport::Endpoint::from_shared(format!("http://{}", broker.tcp)).unwrap().connect().await;
    let refused = match third {
        Ok(channel) => get(&mut Client::new(channel), request(HOST)).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    get(&mut first, request(HOST)).await.unwrap();
}

#[tokio::test]
async fn p8_compressed_request_is_limited_by_its_decompressed_size() {
    let broker = TestBroker::start();
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let mut client = broker.client().await.send_compressed(encoding);
        assert_eq!(get(&mut client, request(HOST)).await.unwrap().registry, HOST);
        let long = "a".repeat(60_000);
        let refused = get(&mut client, request(&long)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, "REGISTRY_INVALID".to_owned()));
        let bomb = "a".repeat(20_000_000);
        let refused = get(&mut client, request(&bomb)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "20 KB on the wire, 20 MB in memory: {refused:?}");
        get(&mut client, request(HOST)).await.unwrap();
    }
}

/// Returns the kind of the first frame that answers a call with this `:authority`.
async fn first_frame(authority: &str, mut raw: Raw<impl AsyncRead + AsyncWrite + Unpin>) -> u8 {
    let fields = call_fields(WHOAMI).map(|(name, value)| (name, if name == ":authority" { authority } else { value }));
    raw.send(HEADERS, END_HEADERS, 1, &block(&fields)).await.unwrap();
    raw.send(DATA, END_STREAM, 1, &[0; 5]).await.unwrap();
    loop {
        let frame = raw.read().await.unwrap();
        if frame.stream == 1 && [HEADERS, RST_STREAM].contains(&frame.kind) {
            return frame.kind;
        }
    }
}

/// gRPC C-core sends the path of its socket percent-encoded, grpc-java as it is.
#[tokio::test]
async fn authority_that_is_a_path_is_accepted_over_a_unix_socket_only() {
    let broker = TestBroker::start();
    for authority in ["/run/ecr-broker/broker.sock", "%2Frun%2Fecr-broker%2Fbroker.sock"] {
        let unix = Raw::open_over(UnixStream::connect(&broker.socket).await.unwrap(), &[]).await;
        assert_eq!(first_frame(authority, unix).await, HEADERS, "{authority} over the socket");
        let tcp = Raw::open(&broker.tcp.to_string(), &[]).await;
        assert_eq!(first_frame(authority, tcp).await, RST_STREAM, "{authority} over TCP");
    }
}
