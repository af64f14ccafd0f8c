//! Ops pages: health for probes, metrics for Prometheus and the status for operators, over HTTP, read-only.
//!
//! Every answer is text that the broker wrote itself. Of a request, only the status repeats something: its conditions, parsed and
//! escaped. So no page can carry a caller's text.
//! A request must name the broker by an IP address, `localhost` or a configured name. Otherwise a website could have a browser on the
//! operator's machine read the pages, under a name of the website that resolves to the broker.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::ACCEPT;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tracing::error;

use self::answer::Answer;
use self::scrape::Scrapes;
use self::turns::Turns;
use crate::api::host;
use crate::cache::KeyQuery;
use crate::caller::DnsName;
use crate::metrics::{Exposition, Format};
use crate::pb::GetStatusResponse;
use crate::status::{Check, Readiness, Status, StatusReporter};

mod answer;
mod peer;
mod query;
mod scrape;
mod status_page;
mod turns;

pub(crate) use self::peer::OpsPeer;

/// The pages. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(crate) struct Ops {
    hosts: Arc<[DnsName]>,
    readiness: Readiness,
    scrapes: Scrapes,
    /// Turns of the status. Operators over gRPC need none: their rate is limited.
    turns: Turns,
    reporter: StatusReporter,
}

impl Ops {
    /// Returns the pages of a broker that is reached by the names `hosts`, beside `localhost` and IP addresses.
    pub(crate) fn new(
        hosts: &[DnsName],
        readiness: Readiness,
        exposition: Exposition,
        reporter: StatusReporter,
    ) -> Self {
        Self { hosts: hosts.into(), readiness, scrapes: Scrapes::of(exposition), turns: Turns::default(), reporter }
    }

    /// Answers a request. A panic is logged, and answered as an internal error.
    pub(crate) async fn respond<B>(&self, request: &Request<B>, peer: &OpsPeer) -> Response<Full<Bytes>> {
        let answer = AssertUnwindSafe(self.answer(request, peer)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|_| {
            error!("ops page panicked");
            internal_error()
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
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        match path {
            "/livez" => Answer::text(StatusCode::OK, "ok\n"),
            "/readyz" => readyz(&self.readiness, query),
            "/metrics" => self.metrics(request.headers()).await,
            "/status" => self.status(query, peer, page).await,
            "/status.json" => self.status(query, peer, json).await,
            _ => Answer::text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let accepted: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let format = Format::accepted(&accepted.join(","));
        let text = self.scrapes.text(format).await;
        text.map_or_else(internal_error, |text| Answer::new(StatusCode::OK, format.content_type(), text))
    }

    /// Answers an operator with the status. Gathering it is boxed: the requests of probes need no memory for it.
    async fn status(&self, query: &str, peer: &OpsPeer, write: fn(&Status) -> Answer) -> Answer {
        if !peer.is_operator(&self.reporter).await {
            let problem = "forbidden; present a client certificate with an operator grant\n";
            return Answer::text(StatusCode::FORBIDDEN, problem);
        }
        match query::parse(query) {
            Ok(query) => write(&Box::pin(self.gather(query)).await),
            Err(problem) => Answer::text(StatusCode::BAD_REQUEST, problem + "\n"),
        }
    }

    async fn gather(&self, query: KeyQuery) -> Status {
        let mut turn = self.turns.take().await;
        turn.begin().await;
        self.reporter.status(query).await
    }
}

fn page(status: &Status) -> Answer {
    Answer::html(status_page::page(status), &status_page::CONTENT_SECURITY_POLICY)
}

fn json(status: &Status) -> Answer {
    match serde_json::to_string(&GetStatusResponse::from(status)) {
        Ok(json) => Answer::json(json + "\n"),
        Err(_) => internal_error(),
    }
}

fn internal_error() -> Answer {
    Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
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
