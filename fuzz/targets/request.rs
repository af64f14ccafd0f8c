//! Any bytes as a request of the gRPC API: every request gets a status, and a message that decodes never gets INTERNAL.
#![no_main]

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ecr_broker::address::ListenAddress;
use ecr_broker::app::{App, Parts, Upstream};
use ecr_broker::authn::Peer;
use ecr_broker::caller::Caller;
use ecr_broker::clock::{Clock as _, SystemClock};
use ecr_broker::config::{Config, Sources};
use ecr_broker::credential::Credential;
use ecr_broker::error::{FailureClass, SourceName, UpstreamError};
use ecr_broker::limits::Origin;
use ecr_broker::registry::Registry;
use ecr_broker::server::GrpcService;
use ecr_broker::source::{
    CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus,
};
use http_body_util::{BodyExt as _, Full};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

const METHODS: [&str; 5] = [
    "GetRegistryCredentials",
    "BatchGetRegistryCredentials",
    "ListRegistries",
    "GetCallerIdentity",
    "WatchRegistryCredentials",
];
/// Age at which a watch ends. Its snapshot is complete by then.
const WATCH_AGE: Duration = Duration::from_millis(3);

/// Returns a token for registries with an account and for ECR Public; fails for the others.
#[derive(Debug)]
struct Source(SystemClock);

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
        Box::pin(async move {
            let now = self.0.now();
            let token = Credential::from_aws_token("QVdTOnBhc3N3b3Jk", now.wall + Duration::from_secs(40_000), now);
            let registry = &request.key.registry;
            let known = registry.account().is_some() || registry.region().is_none();
            let token = token.ok().filter(|_| known).ok_or(UpstreamError::aws(FailureClass::Unavailable))?;
            Ok(token.for_account(registry.account()))
        })
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        Duration::from_secs(9)
    }
}

/// A broker whose service is called in process.
struct Broker {
    runtime: Runtime,
    service: GrpcService,
    _app: App,
}

static BROKER: LazyLock<Broker> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = SystemClock::new();
    let region = "eu-central-1".parse().ok();
    let upstream = Some(Upstream {
        source: Arc::new(Source(clock)),
        region,
        endpoints: Vec::new(),
        parent_addresses: Vec::new(),
        watches: Vec::new(),
    });
    let parts = Parts { upstream, ..Parts::new(Arc::new(clock)) };
    let app = runtime.block_on(App::build(config(), parts)).unwrap();
    let service = app.grpc_service().for_peer(Peer::Known(Caller::Loopback), Origin::Uid(0), None);
    Broker { runtime, service, _app: app }
});

fn config() -> Config {
    let mut config = Config::load(&Sources::default()).unwrap();
    let per_second = NonZeroU32::new(1_000).unwrap();
    config.server.listen = vec![ListenAddress::Tcp(([127, 0, 0, 1], 0).into())];
    config.server.connections.max_connection_age = WATCH_AGE;
    config.cache.capacity = 100;
    config.cache.max_waiters = 1_000;
    config.aliases.add("registry.corp.example", Registry::PUBLIC).unwrap();
    (config.limits.requests_per_second, config.limits.failures_per_second) = (per_second, per_second);
    config.limits.local_requests_per_second = NonZeroU32::new(1_000_000).unwrap();
    config.limits.in_flight = 10_000;
    config
}

fuzz_target!(|data: &[u8]| {
    let Some((method, message)) = data.split_first() else { return };
    let Broker { runtime, service, .. } = &*BROKER;
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
    // 13 is INTERNAL: the handler panicked, or tonic could not decode the message.
    if status == 13 {
        let decodes = match method {
            "GetRegistryCredentials" => decodes::<ecr_broker::pb::GetRegistryCredentialsRequest>(message),
            "BatchGetRegistryCredentials" => decodes::<ecr_broker::pb::BatchGetRegistryCredentialsRequest>(message),
            "ListRegistries" => decodes::<ecr_broker::pb::ListRegistriesRequest>(message),
            "WatchRegistryCredentials" => decodes::<ecr_broker::pb::WatchRegistryCredentialsRequest>(message),
            _ => decodes::<ecr_broker::pb::GetCallerIdentityRequest>(message),
        };
        assert!(!decodes, "a message that decodes was answered with INTERNAL");
    }
});

fn decodes<T: prost::Message + Default>(message: &[u8]) -> bool {
    T::decode(message).is_ok()
}
