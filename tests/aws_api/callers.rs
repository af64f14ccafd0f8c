//! Secrets, grants and audit records.

use super::*;

#[tokio::test]
async fn wrong_secret_is_rejected_and_failures_lock_out_no_valid_caller() {
    let one = NonZeroU32::new(1).unwrap();
    let broker = TestBroker::start_with(|setup| setup.config.limits.failures_per_second = one);
    let at = broker.aws_api;
    let (longer, shorter) = (format!("/t/{SECRET}x"), format!("/t/{}", &SECRET[1..]));
    let (deeper, elsewhere) = (format!("/t/{SECRET}/x"), format!("/{SECRET}"));
    for path in ["/", "/t/", "/t", &longer, &shorter, &deeper, &elsewhere, "/t/%30"] {
        let reply = Call::private().path(path).send(at).await;
        assert_eq!(reply.error(), (403, "AccessDeniedException"), "{path}");
        assert!(reply.message().contains("AWS_ENDPOINT_URL_ECR") && reply.message().contains(reply.id()), "{reply:?}");
    }
    for path in [format!("/t/{SECRET}"), format!("/t/{SECRET}/"), format!("/t/{SECRET}?x=y")] {
        Call::private().path(&path).send(at).await.data();
    }
    // The ninth and the tenth failure use up the burst. Each later one needs a second.
    for method in ["GET", "DELETE"] {
        assert_eq!(Call::private().method(method).path("/").send(at).await.error().0, 403, "{method}");
    }
    let wrong = || Call::private().path("/");
    let throttled = wrong().send(at).await;
    assert_eq!(throttled.error(), (400, "ThrottlingException"));
    assert!(throttled.headers["x-amz-retry-after"].parse::<u64>().unwrap() >= 1000, "{throttled:?}");
    // Callers with the secret are served meanwhile, and tokens and handshakes from the same address are verified.
    Call::private().send(at).await.data();
    broker.limits.check_origin(Origin::of(at.ip()), Attempt::Token).unwrap();
    broker.clock.advance(Duration::from_secs(3));
    assert_eq!(wrong().send(at).await.error().0, 403);
    assert_eq!(broker.source.calls(), 1);
}

#[tokio::test]
async fn aws_api_grant_is_enforced_and_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let granted = Grant {
        id: "scripts".into(),
        callers: vec![CallerPattern::AwsApi],
        registries: vec![RegistryPattern::Private {
            accounts: Accounts::Of(vec!["111111111111".parse().unwrap()]),
            regions: vec!["eu-*".parse().unwrap()],
        }],
        profile: Some("default".into()),
        effect: Effect::Allow,
        max_lifetime: None,
    };
    let output = Output::File(file.clone());
    let broker = TestBroker::start_as(Policy::Grants(vec![granted]), Some(&output), |_| ());
    let at = broker.aws_api;
    let last = || {
        let text = fs::read_to_string(&file).unwrap();
        serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap()
    };
    let reply = Call::of(&["111111111111"]).send(at).await;
    let (token, record) = (password(&reply.data()[0]), last());
    let proof = "secret of the broker's AWS API, from the broker's host; the process is unknown";
    for (field, value) in [
        ("outcome", "released"),
        ("caller", "aws-api"),
        ("proof", proof),
        ("grant", "scripts"),
        ("registry", "111111111111.dkr.ecr.eu-central-1.amazonaws.com"),
        ("request_id", reply.id()),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    // A request without an account is denied: its account is unknown before AWS is called.
    let in_us = Call::of(&["111111111111"]).signed_for("us-east-1", "ecr");
    let mut id = String::new();
    for call in [
        Call::of(&["222222222222"]),
        Call::of(&["111111111111", "222222222222"]),
        in_us,
        Call::private(),
        Call::public(),
    ] {
        let reply = call.send(at).await;
        assert_eq!(reply.error(), (400, "AccessDeniedException"), "{reply:?}");
        assert!(reply.message().contains(reply.id()), "{reply:?}");
        assert!(!reply.body.to_string().contains("authorizationToken"));
        reply.id().clone_into(&mut id);
    }
    let record = last();
    for (field, value) in [
        ("outcome", "denied"),
        ("caller", "aws-api"),
        ("proof", proof),
        ("request_id", &id),
        ("registry", "public.ecr.aws"),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    assert_eq!(broker.source.calls(), 1);
    let audit = fs::read_to_string(&file).unwrap();
    assert!(!audit.contains(&token) && !audit.contains(SECRET));
}

/// The gRPC port on loopback needs no secret.
#[tokio::test]
async fn loopback_and_aws_api_grants_are_separate() {
    for (pattern, over_grpc) in [(CallerPattern::Loopback, true), (CallerPattern::AwsApi, false)] {
        let everything = Grant {
            id: "one".into(),
            callers: vec![pattern],
            registries: vec![RegistryPattern::Private { accounts: Accounts::Any, regions: vec!["*".parse().unwrap()] }],
            profile: None,
            effect: Effect::Allow,
            max_lifetime: None,
        };
        let broker = TestBroker::start_as(Policy::Grants(vec![everything]), None, |_| ());
        let reply = Call::of(&["123456789012"]).send(broker.aws_api).await;
        let called = broker.client().await.get_registry_credentials(request(HOST)).await;
        if over_grpc {
            assert_eq!(reply.error(), (400, "AccessDeniedException"));
            called.unwrap();
        } else {
            reply.data();
            assert_eq!(called.unwrap_err().code(), tonic::Code::PermissionDenied);
        }
    }
}

#[tokio::test]
async fn wrong_secrets_are_audited_once_and_then_counted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = TestBroker::start_as(Policy::Open, Some(&Output::File(file.clone())), |_| ());
    for _ in 0..5 {
        assert_eq!(Call::private().path("/t/canary").send(broker.aws_api).await.error().0, 403);
    }
    broker.stop().await;
    let text = fs::read_to_string(&file).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.len() == 2 && !text.contains("canary"), "{text}");
    for record in &records {
        assert_eq!((&record["outcome"], &record["origin"]), (&"unauthenticated".into(), &"aws-api".into()), "{record}");
        assert_eq!((&record["proof"], &record["reason"]), (&"secret".into(), &"no valid secret in the path".into()));
    }
    assert_eq!((records[0].get("count"), &records[1]["count"]), (None, &4.into()));
}

#[tokio::test]
async fn p11_aws_api_releases_nothing_without_a_record() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = TestBroker::start_as(Policy::Open, Some(&Output::File(file.clone())), |_| ());
    put_directory_at(&file);
    let reply = Call::private().send(broker.aws_api).await;
    assert_eq!(reply.error(), (500, "ServerException"));
    assert!(reply.message().contains("audit log"), "{reply:?}");
}
