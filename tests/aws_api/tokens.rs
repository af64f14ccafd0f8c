//! Tokens, and the errors that SDKs understand.

use super::*;

#[tokio::test]
async fn token_response_has_the_form_of_aws() {
    let (broker, at) = broker();
    let reply = Call::private().send(at).await;
    let [token] = reply.data().as_array().unwrap().as_slice() else { panic!("{reply:?}") };
    // The account is the one that AWS named. The expiry is AWS's: 1,800,000,000 and twelve hours.
    assert_eq!(token["proxyEndpoint"], "https://999999999999.dkr.ecr.eu-central-1.amazonaws.com");
    assert_eq!(token["expiresAt"].as_f64(), Some(1_800_043_200.0));
    assert_eq!(password(token), "password-1");
    assert_eq!(reply.id().len(), 32);

    let reply = Call::public().signed_for("us-east-1", "ecr-public").send(at).await;
    let token = reply.data();
    assert_eq!((password(token).as_str(), token.get("proxyEndpoint")), ("password-2", None));
    assert_eq!(token["expiresAt"].as_f64(), Some(1_800_043_200.0));
    drop(broker);
}

#[tokio::test]
async fn tokens_are_for_the_region_of_the_signature() {
    let (broker, at) = broker();
    let reply = Call::of(&["111111111111", "222222222222"]).signed_for("cn-north-1", "ecr").send(at).await;
    let tokens = reply.data().as_array().unwrap();
    let hosts: Vec<_> = tokens.iter().map(|token| token["proxyEndpoint"].as_str().unwrap()).collect();
    assert_eq!(
        hosts,
        [
            "https://111111111111.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "https://222222222222.dkr.ecr.cn-north-1.amazonaws.com.cn"
        ]
    );
    assert_ne!(password(&tokens[0]), password(&tokens[1]));
    // Unsigned, as with --no-sign-request: the broker's own region.
    let unsigned = Call::of(&["111111111111"]).send(at).await;
    assert_eq!(unsigned.data()[0]["proxyEndpoint"], "https://111111111111.dkr.ecr.eu-central-1.amazonaws.com");
    assert_eq!(broker.source.calls(), 3);

    let eleven = ["111111111111"; 11];
    for ids in [&eleven[..], &[], &["1"], &["11111111111x"]] {
        assert_eq!(Call::of(ids).send(at).await.error(), (400, "InvalidParameterException"), "{ids:?}");
    }
    for (region, code) in [("mars-1", "InvalidSignatureException"), ("eu/west", "IncompleteSignatureException")] {
        assert_eq!(Call::private().signed_for(region, "ecr").send(at).await.error(), (403, code), "{region}");
    }
    let reply = Call::private().signed_for("aa-aab-1", "ecr").send(at).await;
    assert_eq!(reply.error(), (400, "InvalidParameterException"));
    assert!(reply.message().contains("aa-aab-1") && reply.message().contains("aws.regions"), "{reply:?}");
    let long = Call::private().signed_for(&format!("aa-{}-1", "b".repeat(8_000)), "ecr").send(at).await;
    assert_eq!(long.error(), (403, "InvalidSignatureException"));
    assert!(long.message().len() < 200, "{long:?}");
    assert_eq!(broker.source.calls(), 3, "invalid requests do not reach AWS");
}

#[tokio::test]
async fn unsupported_operation_error_says_how_to_call_aws() {
    let (broker, at) = broker();
    let describe = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories";
    for call in [
        Call::new(describe, &json!({})),
        Call::new(&PRIVATE.to_lowercase(), &json!({})),
        Call::private().method("GET"),
        Call::private().method("OPTIONS"),
        Call::private().header("content-type", "text/plain"),
        Call::private().header("x-amz-target", ""),
    ] {
        let reply = call.send(at).await;
        assert_eq!(reply.error(), (400, "UnknownOperationException"), "{reply:?}");
        assert!(reply.message().contains("unset AWS_ENDPOINT_URL_ECR"), "{reply:?}");
    }
    assert!(Call::new(describe, &json!({})).send(at).await.message().contains("DescribeRepositories"));
    for (call, error) in [
        (Call::private().body("{"), (400, "SerializationException")),
        (
            Call::private().body(&json!({ "registryIds": "x".repeat(60_000) }).to_string()),
            (400, "SerializationException"),
        ),
        (Call::private().body(&" ".repeat(64 * 1024 + 1)), (413, "RequestEntityTooLargeException")),
        (Call::private().header("user-agent", "aws-sdk-rust/1 app/ecr-broker"), (400, "AccessDeniedException")),
    ] {
        let reply = call.send(at).await;
        assert_eq!(reply.error(), error);
        assert!(reply.message().len() < 200, "{reply:?}");
    }
    assert_eq!(Call::private().header("x", &"x".repeat(128 * 1024)).send(at).await.status, 431);
    Call::private().body("").send(at).await.data();
    assert_eq!(broker.source.calls(), 1);
}

/// Callers of each of the two APIs that wait for one AWS call.
const WAITING: u32 = 200;

/// Returns whether `count` requests of a caller are in flight: a request for all the other places is rejected then.
fn are_in_flight(limits: &Limits, caller: &Caller, count: u32) -> bool {
    let room = u32::try_from(limits_settings().in_flight).unwrap() + 1 - count;
    limits.admit(&caller.principal(), NonZeroU32::new(room).unwrap()).is_err()
}

/// A fetch for one API serves the other, whichever came first.
#[tokio::test]
async fn p1_grpc_and_aws_api_share_one_call_per_key() {
    let broker = TestBroker::start_with(|setup| setup.config.server.connections.max_connections_per_address = 1024);
    let limits = broker.limits.clone();
    let at = broker.aws_api;
    for (account, grpc_first) in [("111111111111", true), ("222222222222", false)] {
        let before = broker.source.calls();
        broker.source.shut();
        let accounts = [account];
        let calls = join_all((0..WAITING).map(|_| async { password(&Call::of(&accounts).send(at).await.data()[0]) }));
        let clients = join_all((0..4).map(|_| broker.client())).await;
        let host = format!("{account}.dkr.ecr.eu-central-1.amazonaws.com");
        let over_grpc =
            join_all((0..WAITING).map(|number| {
                let (mut client, request) = (clients[usize::try_from(number % 4).unwrap()].clone(), request(&host));
                async move {
                    client.get_registry_credentials(request).await.unwrap().into_inner().credentials.unwrap().password
                }
            }));
        let until = async |caller| {
            while !are_in_flight(&limits, &caller, WAITING) {
                tokio::task::yield_now().await;
            }
        };
        let second = async || {
            broker.source.until_calls(before + 1).await;
        };
        let calls = async {
            if grpc_first {
                second().await;
            }
            calls.await
        };
        let over_grpc = async {
            if !grpc_first {
                second().await;
            }
            over_grpc.await
        };
        let open = async {
            tokio::join!(until(Caller::AwsApi), until(Caller::Loopback));
            broker.source.open();
        };
        let all = async { tokio::join!(calls, over_grpc, open) };
        let (calls, over_grpc, ()) = timeout(LIMIT, all).await.expect("all share one call");
        assert_eq!(calls.len() + over_grpc.len(), 400);
        let expected = format!("password-{}", before + 1);
        assert!(calls.iter().chain(&over_grpc).all(|password| *password == expected));
        assert_eq!(broker.source.calls(), before + 1);
    }
}

#[tokio::test]
async fn transient_failures_map_to_codes_that_sdks_retry() {
    let (broker, at) = broker();
    for (account, class, error) in [
        ("111111111111", FailureClass::Throttled, (400, "ThrottlingException")),
        ("222222222222", FailureClass::Unavailable, (500, "ServerException")),
        ("333333333333", FailureClass::NoCredentials, (500, "ServerException")),
        ("444444444444", FailureClass::InvalidResponse, (500, "ServerException")),
        ("555555555555", FailureClass::Denied, (400, "AccessDeniedException")),
    ] {
        broker.source.fail(class);
        let reply = Call::of(&[account]).send(at).await;
        assert_eq!(reply.error(), error, "{class:?}");
        assert!(reply.message().ends_with(&format!("(request id {})", reply.id())), "{reply:?}");
        assert_eq!(reply.headers.contains_key("x-amz-retry-after"), class != FailureClass::Denied);
    }
}

#[tokio::test]
async fn p2_aws_api_answers_the_cause_of_a_wait_before_its_time_limit() {
    let cache = TestCache::new();
    cache.source.set_fetch_budget(MINUTE);
    let broker = TestBroker::start_on(cache, Policy::Open, None, |_| ());
    broker.source.fail(FailureClass::Throttled);
    assert_eq!(Call::public().send(broker.aws_api).await.error(), (400, "ThrottlingException"));
    broker.clock.advance(Duration::from_secs(1));
    broker.source.shut();
    let mut stream = TcpStream::connect(broker.aws_api).await.unwrap();
    stream.write_all(&Call::public().header("connection", "close").bytes()).await.unwrap();
    broker.source.until_calls(2).await;
    // From now on the clock advances whenever all tasks wait.
    tokio::time::pause();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    assert_eq!(Reply::parse(&reply).error(), (400, "ThrottlingException"));
}
