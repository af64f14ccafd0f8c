//! Ops pages: health for probes, over HTTP, read-only.
//!
//! Every answer is text that the broker wrote itself: nothing of a request is repeated, so that no page can carry a caller's text.
//! A request must name the broker by an IP address, `localhost` or a configured name. Otherwise a website could have a browser on the
//! operator's machine read the pages, under a name of the website that resolves to the broker.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tracing::error;

use self::answer::Answer;
use crate::caller::DnsName;
use crate::status::{Check, Readiness};

mod answer;
mod host;
mod peer;

pub(crate) use self::peer::OpsPeer;

/// The pages. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(crate) struct Ops {
    hosts: Arc<[DnsName]>,
    readiness: Readiness,
}

impl Ops {
    /// Returns the pages of a broker that is reached by the names `hosts`, beside `localhost` and IP addresses.
    pub(crate) fn new(hosts: &[DnsName], readiness: Readiness) -> Self {
        Self { hosts: hosts.into(), readiness }
    }

    /// Answers a request. A panic is logged, and answered as an internal error.
    pub(crate) async fn respond<B>(&self, request: &Request<B>, peer: &OpsPeer) -> Response<Full<Bytes>> {
        let answer = AssertUnwindSafe(self.answer(request, peer)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|_| {
            error!("ops page panicked");
            Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        });
        answer.into_response()
    }

    async fn answer<B>(&self, request: &Request<B>, peer: &OpsPeer) -> Answer {
        if peer.needs_host() && !host::is_accepted(request, &self.hosts) {
            let problem = "unknown host; use an IP address or localhost, or add the name to server.ops_hosts\n";
            return Answer::text(StatusCode::MISDIRECTED_REQUEST, problem);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed\n")
                .allowing("GET, HEAD");
        }
        let uri = request.uri();
        self.page(uri.path(), uri.query().unwrap_or_default(), peer)
    }

    fn page(&self, path: &str, query: &str, peer: &OpsPeer) -> Answer {
        match path {
            "/livez" => Answer::text(StatusCode::OK, "ok\n"),
            "/readyz" => readyz(&self.readiness, query),
            "/status" | "/status.json" if !peer.is_operator() => {
                let problem = "forbidden; present a client certificate with an operator grant\n";
                Answer::text(StatusCode::FORBIDDEN, problem)
            }
            _ => Answer::text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

/// Lists the checks if the broker is not ready, or if the query asks for it.
fn readyz(readiness: &Readiness, query: &str) -> Answer {
    let checks = readiness.checks();
    let is_ready = checks.iter().all(|check| check.problem.is_none());
    if is_ready && !query.split('&').any(|item| item == "verbose" || item.starts_with("verbose=")) {
        return Answer::text(StatusCode::OK, "ok\n");
    }
    let line = |check: &Check| match check.problem {
        None => format!("[+]{} ok\n", check.name),
        Some(problem) => format!("[-]{} failed: {problem}\n", check.name),
    };
    let (status, last) = if is_ready {
        (StatusCode::OK, "readyz check passed\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "readyz check failed\n")
    };
    let text: String = checks.iter().map(line).chain([last.to_owned()]).collect();
    Answer::text(status, text)
}
