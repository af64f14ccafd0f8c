//! Metadata about a caller: what the parent verifies, refuses and records.

use std::time::Duration;

use ecr_broker::limits::Settings;
use tonic::Code;

use super::federation::get;
use super::parent::{ASSERTED, Parent, TOKEN, VIA, get_with, node, whoami_with};
use super::support::*;
use super::tokens::{SUBJECT, Signer};

/// Returns the grant of a release, or the reason of the error.
async fn decided(channel: &tonic::transport::Channel, metadata: &[(&'static str, &str)]) -> String {
    match get_with(channel, HOST, metadata).await {
        Ok(()) => "released".to_owned(),
        Err(error) => error_reason(&error),
    }
}

fn error_reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_error_details().error_info().map_or_else(|| status.to_string(), |info| info.reason.clone())
}

#[tokio::test]
async fn forwarded_token_has_its_own_rights_and_audit_names_the_chain() {
    let parent = Parent::start(|_| ());
    let (n1, token) = (parent.as_node("n1").await, parent.pod_token(&parent.signer, "n1"));
    let (principal, proof) = whoami_with(&n1, &[(TOKEN, &token)]).await;
    assert_eq!(principal, format!("via {} jwt:blue:{SUBJECT}", node("n1")));
    assert!(proof.contains("forwarded by a child broker"), "{proof}");
    assert_eq!(decided(&n1, &[(TOKEN, &token)]).await, "released");
    let record = parent.audited().pop().unwrap();
    assert_eq!(record["caller"], format!("jwt:blue:{SUBJECT}"));
    assert_eq!((&record["via"], &record["grant"]), (&serde_json::json!([node("n1")]), &"pods".into()));
    // The node has the public registry, its pods have the private ones.
    assert_eq!(get(&n1, "public.ecr.aws").await.unwrap(), "public.ecr.aws");
    assert_eq!(get(&n1, HOST).await.unwrap_err().code(), Code::PermissionDenied);
    let denied = get_with(&n1, "public.ecr.aws", &[(TOKEN, &token)]).await.unwrap_err();
    assert_eq!(error_reason(&denied), "CALLER_NOT_ALLOWED");
    let record = parent.audited().pop().unwrap();
    assert_eq!((&record["outcome"], &record["via"]), (&"denied".into(), &serde_json::json!([node("n1")])));
    parent.broker.stop().await;
}

#[tokio::test]
async fn token_counts_only_from_the_node_that_it_names() {
    let parent = Parent::start(|_| ());
    let (n1, n2) = (parent.as_node("n1").await, parent.as_node("n2").await);
    let (one, two) = (parent.pod_token(&parent.signer, "n1"), parent.pod_token(&parent.signer, "n2"));
    for (channel, token, expected) in [
        (&n1, &one, "released"),
        (&n2, &two, "released"),
        (&n1, &two, "CALLER_NOT_ALLOWED"),
        (&n2, &one, "CALLER_NOT_ALLOWED"),
    ] {
        assert_eq!(decided(channel, &[(TOKEN, token)]).await, expected);
    }
    let chain = node("n1");
    for metadata in [&[(TOKEN, one.as_str()), (VIA, &chain)][..], &[(ASSERTED, "uid:1001,gid:1"), (VIA, &chain)]] {
        assert_eq!(decided(&n2, metadata).await, "CALLER_NOT_ALLOWED", "the grants have no way of two brokers");
    }
    let (principal, _) = whoami_with(&n2, &[(TOKEN, &one), (VIA, &chain)]).await;
    assert_eq!(principal, format!("via {},{} jwt:blue:{SUBJECT}", node("n1"), node("n2")));
    parent.broker.stop().await;
}

#[tokio::test]
async fn forged_token_and_peer_without_certificate_are_refused_and_audited() {
    let parent = Parent::start(|_| ());
    let (n1, anonymous) = (parent.as_node("n1").await, parent.without_certificate().await);
    let (good, forged) = (parent.pod_token(&parent.signer, "n1"), parent.pod_token(&Signer::new("k1"), "n1"));
    assert_eq!(decided(&n1, &[(TOKEN, &forged)]).await, "CALLER_UNAUTHENTICATED");
    for metadata in [&[(TOKEN, good.as_str())][..], &[(ASSERTED, "uid:1001,gid:1001")], &[(ASSERTED, &node("n1"))]] {
        let error = get_with(&anonymous, HOST, metadata).await.unwrap_err();
        assert_eq!(error_reason(&error), "CALLER_UNAUTHENTICATED");
        assert!(error.message().contains("only a client certificate lets a broker forward callers"), "{error}");
    }
    parent.broker.rejections.finish().await;
    let records = parent.audited();
    let unproved = |proof: &str| records.iter().filter(|one| one["proof"] == proof).collect::<Vec<_>>();
    let forwarded = unproved("forwarded");
    assert!(forwarded.iter().any(|one| one["via"] == serde_json::json!([node("n1")])), "{records:?}");
    assert!(forwarded.iter().any(|one| one["via"].is_null()), "{records:?}");
    assert!(records.iter().all(|one| !one.to_string().contains(&forged)), "{records:?}");
    parent.broker.stop().await;
}

#[tokio::test]
async fn asserted_user_counts_only_where_a_grant_accepts_the_word_of_its_node() {
    let parent = Parent::start(|_| ());
    let (n1, n2) = (parent.as_node("n1").await, parent.as_node("n2").await);
    for (channel, name, expected) in [
        (&n1, "uid:1001,gid:1001", "released"),
        (&n2, "uid:1001,gid:1001", "CALLER_NOT_ALLOWED"),
        (&n1, "uid:1002,gid:1002", "CALLER_NOT_ALLOWED"),
        (&n1, "uid:0,gid:0", "CALLER_NOT_ALLOWED"),
        (&n1, &node("n1"), "CALLER_NOT_ALLOWED"),
        (&n1, "loopback", "CALLER_NOT_ALLOWED"),
    ] {
        assert_eq!(decided(channel, &[(ASSERTED, name)]).await, expected, "{name}");
    }
    let released = parent.audited().into_iter().find(|one| one["outcome"] == "released").unwrap();
    assert_eq!((&released["caller"], &released["grant"]), (&"uid:1001,gid:1001".into(), &"users".into()));
    assert_eq!(released["via"], serde_json::json!([node("n1")]));
    assert!(released["proof"].as_str().unwrap().contains("proved nothing"), "{released}");
    parent.broker.stop().await;
}

#[tokio::test]
async fn malformed_metadata_is_refused_and_never_gives_the_rights_of_the_node() {
    let parent = Parent::start(|_| ());
    let (n1, token) = (parent.as_node("n1").await, parent.pod_token(&parent.signer, "n1"));
    let (bearer, chain) = (format!("Bearer {token}"), [node("n1"), node("n2"), node("n3")].join(","));
    for metadata in [
        &[(TOKEN, token.as_str()), (ASSERTED, "uid:1001,gid:1001")][..],
        &[(TOKEN, &token), (TOKEN, &token)],
        &[(ASSERTED, "root")],
        &[(ASSERTED, "jwt:blue:system:serviceaccount:ci:runner")],
        &[(VIA, "dns:a.example")],
        &[("x-ecr-broker-caller", "uid:1001,gid:1001")],
        &[(TOKEN, &token), ("authorization", &bearer)],
        &[(TOKEN, &token), (VIA, &chain)],
    ] {
        let error = get_with(&n1, "public.ecr.aws", metadata).await.unwrap_err();
        assert_eq!(error_reason(&error), "REQUEST_INVALID", "{metadata:?} {error}");
    }
    parent.broker.stop().await;
}

/// A stolen node could assert any number of users. Each would have a separate rate.
#[tokio::test]
async fn made_up_callers_share_the_limits_of_their_node() {
    let count = |number: u32| std::num::NonZeroU32::new(number).unwrap();
    let parent = Parent::start(|setup| {
        setup.config.limits = Settings { requests_per_second: count(1), ..limits_settings() };
    });
    let (n1, n2) = (parent.as_node("n1").await, parent.as_node("n2").await);
    let mut limited = 0;
    for uid in 2_000..2_020 {
        let reason = decided(&n1, &[(ASSERTED, &format!("uid:{uid},gid:{uid}"))]).await;
        limited += usize::from(reason == "CALLER_RATE_LIMITED");
    }
    assert_eq!(limited, 10, "the burst is ten requests");
    assert_eq!(decided(&n2, &[(ASSERTED, "uid:2000,gid:2000")]).await, "CALLER_NOT_ALLOWED");
    parent.broker.clock.advance(Duration::from_secs(20));
    assert_eq!(decided(&n1, &[(ASSERTED, "uid:1001,gid:1001")]).await, "released");
    parent.broker.stop().await;
}

/// A job with a bad token fails alone: its node, other jobs of the node, and direct callers from the same address go on.
#[tokio::test]
async fn bad_forwarded_tokens_block_only_unknown_forwarded_tokens() {
    let parent = Parent::start(|setup| {
        setup.config.limits =
            Settings { failures_per_second: std::num::NonZeroU32::new(1).unwrap(), ..limits_settings() };
    });
    let (n1, good) = (parent.as_node("n1").await, parent.pod_token(&parent.signer, "n1"));
    assert_eq!(decided(&n1, &[(TOKEN, &good)]).await, "released");
    let mut last = String::new();
    for _ in 0..30 {
        last = decided(&n1, &[(TOKEN, &parent.pod_token(&Signer::new("k1"), "n1"))]).await;
    }
    assert_eq!(last, "CALLER_RATE_LIMITED");
    assert_eq!(decided(&n1, &[(TOKEN, &good)]).await, "released", "it was verified a moment ago");
    assert_eq!(get(&n1, "public.ecr.aws").await.unwrap(), "public.ecr.aws");
    let direct = parent.without_certificate().await;
    let bearer = format!("Bearer {good}");
    assert_eq!(decided(&direct, &[("authorization", &bearer)]).await, "CALLER_NOT_ALLOWED");
    parent.broker.clock.advance(Duration::from_mins(1));
    assert_eq!(decided(&n1, &[(TOKEN, &parent.pod_token(&parent.signer, "n1"))]).await, "released");
    parent.broker.stop().await;
}
