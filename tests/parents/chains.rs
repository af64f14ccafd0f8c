//! Chains of brokers: circles, and more brokers than a request may pass.

use tonic::Code;

use super::brokers::{address, asking, child, config_file, get, parent};
use super::program::{Server, run};
use super::support::{HOST, host, request};

/// Sockets in a directory, by number.
struct Sockets(tempfile::TempDir);

impl Sockets {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn address(&self, number: usize) -> String {
        format!("unix:{}", self.0.path().join(format!("{number}.sock")).display())
    }

    /// Starts the broker of a number, which asks that of another.
    fn start(&self, number: usize, asked: usize) -> Server {
        let (_directory, file) = config_file(&asking(&[&self.address(asked)], ""));
        Server::start(&["serve", "--listen", &self.address(number), "--config", &file], &[])
    }

    fn get(&self, number: usize, registry: &str) -> super::program::Ended {
        run(&["get", registry, "--address", &self.address(number), "--timeout", "20s"], &[])
    }
}

#[test]
fn three_brokers_in_a_circle_refuse_at_once() {
    let sockets = Sockets::new();
    let _brokers = [(0, 1), (1, 2), (2, 0)].map(|(number, asked)| sockets.start(number, asked));
    for number in 0..3 {
        let ended = sockets.get(number, &host(number));
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains("BROKER_MISCONFIGURED: brokers ask each other in a circle"), "{ended:?}");
    }
}

#[test]
fn request_passes_three_brokers_and_the_fourth_refuses_this_chain() {
    let sockets = Sockets::new();
    let _last = Server::start(&["serve", "--simulate", "--listen", &sockets.address(4)], &[]);
    let _brokers = [0, 1, 2, 3].map(|number| sockets.start(number, number + 1));
    let refused = sockets.get(0, HOST);
    assert!(refused.stderr.contains("BROKER_MISCONFIGURED: more than 3 brokers ask one another"), "{refused:?}");
    // Those behind it serve their own callers: the refusal was not recorded for the registry.
    for number in [3, 2, 1] {
        let served = sockets.get(number, HOST);
        assert_eq!(served.code, 0, "{number}: {served:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_hop_counts_are_refused() {
    let parent = parent(&[]);
    for (hops, via, code, reason) in [
        ("x", None, Code::InvalidArgument, "REQUEST_INVALID"),
        ("0", None, Code::InvalidArgument, "REQUEST_INVALID"),
        ("1", Some("zz"), Code::InvalidArgument, "REQUEST_INVALID"),
        ("4", None, Code::FailedPrecondition, "BROKER_MISCONFIGURED"),
        ("255", None, Code::FailedPrecondition, "BROKER_MISCONFIGURED"),
    ] {
        let mut call = tonic::Request::new(request(HOST));
        call.metadata_mut().insert("x-ecr-broker-hops", hops.parse().unwrap());
        if let Some(via) = via {
            call.metadata_mut().insert("x-ecr-broker-via", via.parse().unwrap());
        }
        let refused = get(&parent, call).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.reason.as_str(), refused.retry_after),
            (code, reason, None),
            "{hops} {via:?}"
        );
    }
    let mut call = tonic::Request::new(request(HOST));
    call.metadata_mut().insert("x-ecr-broker-hops", "3".parse().unwrap());
    get(&parent, call).await.expect("the third hop is served");
    let mut call = tonic::Request::new(request(HOST));
    call.metadata_mut().insert("x-ecr-broker-hops", "3".parse().unwrap());
    let child = child(&asking(&[&address(&parent)], ""));
    let refused = get(&child, call).await.unwrap_err();
    assert_eq!(
        (refused.reason.as_str(), refused.metadata["cause"].as_str()),
        ("BROKER_MISCONFIGURED", "TOO_MANY_HOPS")
    );
}
