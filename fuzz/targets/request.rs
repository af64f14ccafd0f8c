//! A request's bytes, through the whole service: whatever they are, there is an answer, and never the one for a mistake of ours.
#![no_main]

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use ecr_broker::api::grpc;
use ecr_broker::api::grpc::middleware::{Middleware, MiddlewareService};
use ecr_broker::api::grpc::trace::Tracing;
use ecr_broker::authn::Peer;
use ecr_broker::broker::{self, Broker};
use ecr_broker::cache::{self, CredentialCache};
use ecr_broker::caller::Caller;
use ecr_broker::clock::{Clock, SystemClock};
use ecr_broker::credential::Credential;
use ecr_broker::error::{FailureClass, SourceName, UpstreamError};
use ecr_broker::limits::{self, Limits, Origin};
use ecr_broker::policy::Policy;
use ecr_broker::registry::{Aliases, Registry};
use ecr_broker::source::{CredentialSource, FetchError, FetchRequest, SourceFuture, SourceStatus};
use http_body_util::{BodyExt as _, Full};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::{Layer as _, ServiceExt as _};

const METHODS: [&str; 5] = [
    "GetRegistryCredentials",
    "BatchGetRegistryCredentials",
    "ListRegistries",
    "GetCallerIdentity",
    "WatchRegistryCredentials",
];
/// A watch ends well at about this age, and has had its snapshot by then.
const WATCH_AGE: Duration = Duration::from_millis(3);

/// Gives a token for whatever has an account, and fails for the rest.
#[derive(Debug)]
struct Source(SystemClock);

impl CredentialSource for Source {
    fn name(&self) -> SourceName {
        SourceName::Aws
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async move {
            let now = self.0.now();
            let token = Credential::open("QVdTOnBhc3N3b3Jk", now.wall + Duration::from_secs(40_000), now);
            let registry = &request.key.registry;
            let known = registry.account().is_some() || registry.region().is_none();
            let token = token.ok().filter(|_| known).ok_or(UpstreamError::aws(FailureClass::Unavailable))?;
            Ok(token.for_account(registry.account()))
        })
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Ready
    }

    fn fetch_budget(&self) -> Duration {
        Duration::from_secs(9)
    }
}

struct World {
    runtime: Runtime,
    service: MiddlewareService<Routes>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = SystemClock::new();
    let shared: Arc<dyn Clock> = Arc::new(clock);
    let settings = cache::Settings {
        refresh_after: Duration::from_secs(3_600),
        safety_margin: Duration::from_secs(300),
        capacity: 100,
        max_waiters: 1_000,
    };
    let cache = CredentialCache::new(settings, Arc::new(Source(clock)), Arc::clone(&shared));
    let region = "eu-central-1".parse().ok();
    let mut aliases = Aliases::default();
    aliases.add("registry.corp.example", Registry::PUBLIC).unwrap();
    let settings = broker::Settings {
        policy: Policy::Open,
        profiles: Vec::new(),
        region,
        aliases,
        max_min_validity: Duration::from_secs(36_000),
    };
    let broker = Arc::new(Broker::new(cache, settings, None));
    let per_second = NonZeroU32::new(1_000).unwrap();
    let settings =
        limits::Settings { requests_per_second: per_second, in_flight: 10_000, failures_per_second: per_second };
    let limits = Limits::new(settings, shared);
    let routes = grpc::routes(broker, limits.clone(), WATCH_AGE).routes().prepare();
    let edge = Middleware::new(Tracing::default(), None, limits, CancellationToken::new());
    let service = edge.layer(routes).for_peer(Peer::Known(Caller::Loopback), Origin::Uid(0));
    World { runtime, service }
});

fuzz_target!(|data: &[u8]| {
    let Some((method, message)) = data.split_first() else { return };
    let World { runtime, service } = &*WORLD;
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = Bytes::from([&[0], length.as_slice(), message].concat());
    let request = http::Request::post(format!("/ecrbroker.v1.RegistryCredentialsService/{method}"))
        .header("content-type", "application/grpc")
        .body(Full::new(frame))
        .unwrap();
    let answer = runtime.block_on(async {
        let response = service.clone().oneshot(request).await.unwrap();
        let status = response.headers().get("grpc-status").cloned();
        let body = response.into_body().collect().await.unwrap();
        status.or_else(|| body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()))
    });
    let status: i32 = answer.expect("a status").to_str().unwrap().parse().unwrap();
    // 13 is INTERNAL: a panic, or bytes that are no message, which tonic answers so by itself.
    if status == 13 {
        let decodes = match method {
            "GetRegistryCredentials" => decodes::<ecr_broker::pb::GetRegistryCredentialsRequest>(message),
            "BatchGetRegistryCredentials" => decodes::<ecr_broker::pb::BatchGetRegistryCredentialsRequest>(message),
            "ListRegistries" => decodes::<ecr_broker::pb::ListRegistriesRequest>(message),
            "WatchRegistryCredentials" => decodes::<ecr_broker::pb::WatchRegistryCredentialsRequest>(message),
            _ => decodes::<ecr_broker::pb::GetCallerIdentityRequest>(message),
        };
        assert!(!decodes, "a message that can be read was answered with INTERNAL");
    }
});

fn decodes<T: prost::Message + Default>(message: &[u8]) -> bool {
    T::decode(message).is_ok()
}
