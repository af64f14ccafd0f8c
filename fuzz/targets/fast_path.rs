//! Any headers and bytes as requests to two brokers, one with the fast path and one without it: the answers are the same.
#![no_main]

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ecr_broker::address::ListenAddress;
use ecr_broker::app::{App, Parts, Upstream};
use ecr_broker::clock::Clock;
use ecr_broker::config::{Config, Sources};
use ecr_broker::credential::Credential;
use ecr_broker::error::{FailureClass, SourceName, UpstreamError};
use ecr_broker::moment::Moment;
use ecr_broker::registry::Registry;
use ecr_broker::source::{
    CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus,
};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Headers that either path may look at, beside the usual ones.
const NAMES: [&str; 14] = [
    "content-type",
    "te",
    "grpc-encoding",
    "grpc-accept-encoding",
    "grpc-timeout",
    "authorization",
    "traceparent",
    "tracestate",
    "x-ecr-broker-hops",
    "x-ecr-broker-via",
    "x-ecr-broker-request-id",
    "user-agent",
    "content-length",
    "x-odd",
];
const MAX_HEADERS: u8 = 8;
/// Requests of one input: the first may be a miss, and the second may be remembered.
const REPEATS: usize = 3;

/// Inputs after which every credential has expired: before the random time of its refresh, which is another one in each broker.
const LIFETIME: u64 = 1_800_000;

/// The clock of both brokers: a millisecond for each input, so that a caller does not exceed its rate.
#[derive(Debug)]
struct Inputs;

static INPUTS: AtomicU64 = AtomicU64::new(0);

impl Clock for Inputs {
    fn now(&self) -> Moment {
        let inputs = INPUTS.load(Ordering::Relaxed);
        let steady = Duration::from_millis(inputs) + Duration::from_hours(13 * (inputs / LIFETIME));
        Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + steady, steady }
    }
}

/// Returns the same token again and again; fails for registries without an account.
#[derive(Debug)]
struct Source;

impl SourceIdentity for Source {
    fn name(&self) -> SourceName {
        SourceName::Aws
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Ready
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(std::future::ready(self.status()))
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    fn expires(&self) -> Option<SystemTime> {
        None
    }
}

impl CredentialSource for Source {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        let (now, registry) = (Inputs.now(), &request.key.registry);
        let token = Credential::from_aws_token("QVdTOnBhc3N3b3Jk", now.wall + Duration::from_hours(12), now);
        let known = registry.account().is_some() || registry.region().is_none();
        let result = token.ok().filter(|_| known).ok_or(UpstreamError::aws(FailureClass::Denied).into());
        Box::pin(std::future::ready(result))
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        Duration::from_secs(9)
    }
}

/// Both brokers, with the fast path and without it, and a connection to each.
struct Brokers {
    runtime: Runtime,
    connections: [SendRequest<Bytes>; 2],
}

static BROKERS: LazyLock<Brokers> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connections = runtime.block_on(async { [connect(true).await, connect(false).await] });
    Brokers { runtime, connections }
});

async fn connect(fast_path: bool) -> SendRequest<Bytes> {
    let upstream = Some(Upstream {
        source: Arc::new(Source),
        region: "eu-central-1".parse().ok(),
        endpoints: Vec::new(),
        parent_addresses: Vec::new(),
        watches: Vec::new(),
    });
    let app = App::build(config(fast_path), Parts { upstream, ..Parts::new(Arc::new(Inputs)) }).await.unwrap();
    let address = app.urls().iter().find_map(|url| Some(url.strip_prefix("grpc://")?.to_owned())).unwrap();
    tokio::spawn(app.run(std::future::pending()));
    let stream = TcpStream::connect(address).await.unwrap();
    let (connection, driver) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(driver);
    connection
}

fn config(fast_path: bool) -> Config {
    let mut config = Config::load(&Sources::default()).unwrap();
    config.server.fast_path = fast_path;
    config.server.loopback = true;
    config.server.listen = vec![ListenAddress::Tcp(([127, 0, 0, 1], 0).into())];
    config.server.connections.max_connection_age = Duration::from_hours(24);
    config.cache.capacity = 100;
    config.aliases.add("registry.corp.example", Registry::PUBLIC).unwrap();
    config.limits.local_requests_per_second = NonZeroU32::new(1_000_000).unwrap();
    config.limits.failures_per_second = NonZeroU32::new(1_000_000).unwrap();
    config
}

/// Takes the headers from the front of an input, and returns what is left.
fn headers(mut data: &[u8]) -> Option<(HeaderMap, &[u8])> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    let (count, rest) = data.split_first()?;
    data = rest;
    for _ in 0..count % MAX_HEADERS {
        let (&[name, length], rest) = data.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(length.into())?;
        let name = HeaderName::from_static(NAMES[usize::from(name) % NAMES.len()]);
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
        data = rest;
    }
    Some((headers, data))
}

/// Returns whether a time limit may pass meanwhile.
fn is_limited(headers: &HeaderMap) -> bool {
    headers
        .get_all("grpc-timeout")
        .iter()
        .any(|value| !value.as_bytes().ends_with(b"H") || value.as_bytes().starts_with(b"0"))
}

/// What a request received, without request IDs, dates and the spread of times.
#[derive(Debug, PartialEq)]
struct Answer {
    status: Option<String>,
    content_type: Option<String>,
    credentials: Option<ecr_broker::pb::RegistryCredentials>,
    is_reset: bool,
}

async fn ask(mut connection: SendRequest<Bytes>, headers: &HeaderMap, body: &Bytes) -> Answer {
    let mut answer = Answer { status: None, content_type: None, credentials: None, is_reset: true };
    let mut request = Request::post("http://broker/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials");
    *request.headers_mut().unwrap() = headers.clone();
    std::future::poll_fn(|context| connection.poll_ready(context)).await.expect("the connection is open");
    let Ok((response, mut send)) = connection.send_request(request.body(()).unwrap(), false) else { return answer };
    if send.send_data(body.clone(), true).is_err() {
        return answer;
    }
    let Ok(response) = response.await else { return answer };
    let text = |headers: &HeaderMap, name: &str| headers.get(name).map(|value| format!("{value:?}"));
    (answer.content_type, answer.status) =
        (text(response.headers(), "content-type"), text(response.headers(), "grpc-status"));
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return answer };
        _ = body.flow_control().release_capacity(piece.len());
        bytes.extend_from_slice(&piece);
    }
    let Ok(trailers) = body.trailers().await else { return answer };
    answer.is_reset = false;
    answer.status = answer.status.or_else(|| text(trailers.as_ref()?, "grpc-status"));
    let message: Option<ecr_broker::pb::GetRegistryCredentialsResponse> =
        bytes.get(5..).map(|message| prost::Message::decode(message).expect("a message"));
    answer.credentials = message.and_then(|message| message.credentials);
    if let Some(credentials) = &mut answer.credentials {
        // Each broker spreads its refreshes.
        credentials.refresh_after.take().expect("a delay");
    }
    answer
}

fuzz_target!(|data: &[u8]| {
    let Some((headers, message)) = headers(data) else { return };
    let Some((is_framed, message)) = message.split_first() else { return };
    if is_limited(&headers) {
        return;
    }
    let frame = if is_framed & 1 == 0 {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        Bytes::from([&[0], length.as_slice(), message].concat())
    } else {
        Bytes::copy_from_slice(message)
    };
    INPUTS.fetch_add(1, Ordering::Relaxed);
    let Brokers { runtime, connections } = &*BROKERS;
    runtime.block_on(async {
        for _ in 0..REPEATS {
            let fast = ask(connections[0].clone(), &headers, &frame).await;
            let ordinary = ask(connections[1].clone(), &headers, &frame).await;
            assert_eq!(fast, ordinary, "the paths answer differently");
        }
    });
});
