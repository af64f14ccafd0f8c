//! A parent's errors and outages, as a child's callers see them.

use std::time::Duration;

use tonic::Code;

use super::brokers::{DEAD, Refused, address, asking, child, child_with, get, parent, parent_with};
use super::program::run;
use super::support::{HOST, host, request};

const FALLBACK: &str = "fallback = \"aws\"";
const DENYING: &str = "grants = []\n[authentication]\nloopback = true\n";

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_aws_pass_with_their_reasons_and_delays() {
    for (fault, code, reason, waits) in [
        ("throttle=1", Code::ResourceExhausted, "AWS_THROTTLED", true),
        ("denied=1", Code::PermissionDenied, "AWS_ACCESS_DENIED", false),
        ("server-error=1", Code::Unavailable, "AWS_UNAVAILABLE", true),
    ] {
        let parent = parent(&["--simulate-fault", fault]);
        let child = child(&asking(&[&address(&parent)], FALLBACK_NONE));
        let refused = get(&child, request(HOST)).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.reason.as_str(), refused.retry_after.is_some()),
            (code, reason, waits),
            "{refused:?}"
        );
        assert_eq!(refused.metadata["source"], "parent:central");
        assert!(refused.message.starts_with("at the parent broker: AWS "), "{refused:?}");
    }
}

const FALLBACK_NONE: &str = "fallback = \"none\"";

#[tokio::test(flavor = "multi_thread")]
async fn denial_of_a_parent_is_distinguished_from_that_of_aws() {
    let (parent, _directory) = parent_with(DENYING, &[]);
    for fallback in [FALLBACK_NONE, FALLBACK] {
        let child = child_with(&asking(&[&address(&parent)], fallback), &["--simulate"], &[]);
        let Refused { code, reason, retry_after, message, .. } = get(&child, request(HOST)).await.unwrap_err();
        assert_eq!((code, reason.as_str(), retry_after), (Code::PermissionDenied, "PARENT_DENIED", None));
        assert!(message.contains("allow it in the parent's grants"), "{message}");
        let again = get(&child, request(HOST)).await.unwrap_err();
        assert_eq!(again.reason, "PARENT_DENIED", "it is kept for 30 s");
        let log = child.stop();
        assert_eq!(log.matches("parent call failed").count(), 1, "{log}");
        assert!(log.contains("CALLER_NOT_ALLOWED"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parent_that_is_down_is_unavailable_unless_aws_is_configured_instead() {
    let alone = child(&asking(&[DEAD], ""));
    let refused = get(&alone, request(HOST)).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (Code::Unavailable, "PARENT_UNAVAILABLE"));
    assert!(refused.retry_after.is_some_and(|wait| wait <= Duration::from_secs(1)), "{refused:?}");
    let doctor = run(&["doctor", HOST, "--address", &alone.address], &[]);
    assert!(doctor.code == 5 && doctor.stdout.contains("parent broker"), "{doctor:?}");

    let helped = child_with(&asking(&[DEAD], FALLBACK), &["--simulate"], &[]);
    assert_eq!(get(&helped, request(HOST)).await.unwrap().source, "aws");
}

#[tokio::test(flavor = "multi_thread")]
async fn parent_that_returns_is_asked_again_and_the_cache_outlives_its_outage() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("parent.sock").display());
    let start = || super::program::Server::start(&["serve", "--simulate", "--listen", &socket], &[]);
    let first = start();
    let child = child(&asking(&[&socket], ""));
    let before = get(&child, request(HOST)).await.unwrap();
    first.stop();
    assert_eq!(get(&child, request(HOST)).await.unwrap().credential_id, before.credential_id);
    assert_eq!(get(&child, request(&host(2))).await.unwrap_err().reason, "PARENT_UNAVAILABLE");
    let _second = start();
    // The failure backoff of that registry goes on; another one is fetched at once.
    get(&child, request(&host(3))).await.unwrap();
}
