//! The process's outside: listeners, connections, and the way down.
//!
//! tonic's own server keeps a silent connection for ever, has no cap on connections and no end to its drain, so accepting and
//! connections are ours, over hyper, and tonic's services are mounted on them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::pb::health_server::HealthServer;
use tower::Layer as _;
use tracing::{info, warn};

pub use self::socket_activation::ActivatedSockets;

use self::accept::Door;
use self::aws_api::AwsApiDoor;
use self::connection::Connections;
use self::drain_streams::{DrainStreams, Ending};
use self::health::Health;
use self::listener::Listener;
use crate::address::ListenAddress;
use crate::api::ecr::{AwsApi, Secret};
use crate::api::grpc;
use crate::api::grpc::middleware::Middleware;
use crate::api::grpc::trace::Tracing;
use crate::authn::TcpAuthn;
use crate::authn::jwt::Issuers;
use crate::authn::tls::Tls;
use crate::broker::Broker;
use crate::cache::CredentialCache;
use crate::limits::Limits;

mod accept;
mod aws_api;
mod connection;
mod drain_streams;
mod health;
mod http1;
mod http2;
mod listener;
mod loop_guard;
mod socket_activation;

/// How often dead secrets are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Answers that were cut short by the drain's end still have this long to be written.
const FINAL_FLUSH: Duration = Duration::from_secs(1);

/// Listeners and connections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// How long requests in flight may take to finish once shutdown has begun.
    pub drain_timeout: Duration,
    /// How old a connection becomes, about.
    pub max_connection_age: Duration,
    /// How many connections are kept.
    pub max_connections: usize,
    /// How many of them from one IP address.
    pub max_connections_per_address: usize,
    /// How many of them from one user, over Unix sockets.
    pub max_connections_per_uid: usize,
    /// Whether a peer on loopback TCP is a caller by that alone.
    pub loopback: bool,
    /// What TCP listeners speak; none: plaintext.
    pub tls: Option<Arc<Tls>>,
    /// Whose bearer tokens are taken.
    pub issuers: Option<Arc<Issuers>>,
    /// How much one caller may ask for.
    pub limits: Limits,
}

/// A broker whose listeners are bound and which serves nobody yet.
#[derive(Debug)]
pub struct Bound {
    settings: Settings,
    listeners: Vec<Listener>,
    aws_api: Option<(Listener, AwsApi)>,
    broker: Arc<Broker>,
    cache: CredentialCache,
    tracing: Tracing,
}

/// The states of the way down, each once.
#[derive(Debug, Clone, Default)]
struct Shutdown {
    /// No new connection, no new request on the old ones, and streams end.
    drain: CancellationToken,
    /// Requests still in flight are answered with an error.
    cut: CancellationToken,
    /// Connections still open are closed.
    abort: CancellationToken,
}

/// Binds every listener, or none; those that were handed over are open already.
///
/// # Errors
/// Where an address cannot be listened on; the error says which and why.
pub fn bind(
    settings: Settings,
    mut handed: ActivatedSockets,
    broker: Arc<Broker>,
    cache: CredentialCache,
    tracing: Tracing,
) -> anyhow::Result<Bound> {
    let listeners = settings
        .listen
        .iter()
        .map(|address| Listener::bind(address, &mut handed).with_context(|| format!("cannot listen on {address}")));
    let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
    Ok(Bound { settings, listeners, aws_api: None, broker, cache, tracing })
}

/// Where AWS's API will be answered: bound, for a broker that may yet look for its own place.
#[derive(Debug)]
pub struct BoundAwsApi {
    listener: Listener,
    secret: Arc<Secret>,
}

/// Binds the address of the AWS API. Its callers' secret goes over it in the clear.
///
/// # Errors
/// Where it cannot be listened on, or be reached from other hosts; the error says which it is.
pub fn bind_aws_api(
    address: SocketAddr,
    secret: Arc<Secret>,
    handed: &mut ActivatedSockets,
) -> anyhow::Result<BoundAwsApi> {
    let tcp = ListenAddress::Tcp(address);
    anyhow::ensure!(tcp.is_local(), "the AWS API is for this host alone, and {address} can be reached from others");
    let listener = Listener::bind(&tcp, handed);
    let listener = listener.with_context(|| format!("cannot listen on {address} for the AWS API"))?;
    Ok(BoundAwsApi { listener, secret })
}

impl Bound {
    /// Answers AWS's API there, too.
    #[must_use]
    pub fn with_aws_api(mut self, BoundAwsApi { listener, secret }: BoundAwsApi) -> Self {
        let api = AwsApi::new(Arc::clone(&self.broker), self.settings.limits.clone(), secret);
        self.aws_api = Some((listener, api));
        self
    }

    /// The addresses that are listened on, with the ports that the system chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.listeners.iter().map(|listener| listener.address().clone()).collect()
    }

    /// Where AWS's API is answered, if it is.
    #[must_use]
    pub fn aws_api_address(&self) -> Option<SocketAddr> {
        match self.aws_api.as_ref()?.0.address() {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        }
    }

    /// The same as clients take them, and that of the AWS API, by a scheme that is no client's of ours.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let scheme = if self.settings.tls.is_some() { "grpcs" } else { "grpc" };
        let url = |address: ListenAddress| match address {
            ListenAddress::Tcp(address) => format!("{scheme}://{address}"),
            ListenAddress::Unix(_) => address.to_string(),
        };
        let aws_api = self.aws_api_address().map(|address| format!("aws+http://{address}"));
        self.addresses().into_iter().map(url).chain(aws_api).collect()
    }

    /// Refuses an upstream that is this broker: it would wait for itself.
    ///
    /// # Errors
    /// Where one of the endpoints resolves to one of the listeners.
    pub async fn refuse_loop(&self, endpoints: &[String]) -> anyhow::Result<()> {
        loop_guard::refuse_loop(endpoints, &self.addresses(), self.aws_api_address()).await
    }

    /// Serves until `shutdown` is there, and then as long as the drain takes.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        let steps = Shutdown::default();
        let (health, health_service) = Health::start(self.cache.clone()).await;
        let tokens = self.settings.issuers.is_some();
        let connections = Connections::new(connection::Limits::of(&self.settings));
        let routes = grpc::routes(self.broker, self.settings.limits.clone(), self.settings.max_connection_age);
        let edge =
            Middleware::new(self.tracing, self.settings.issuers, self.settings.limits.clone(), steps.cut.clone());
        let service = edge.layer(service(routes, health_service, &steps));
        let tracker = TaskTracker::new();
        let authn = TcpAuthn { tls: self.settings.tls, loopback: self.settings.loopback, tokens };
        let limits = self.settings.limits;
        let door =
            Door { connections, service, steps: steps.clone(), authn, limits, age: self.settings.max_connection_age };
        if let Some((listener, api)) = self.aws_api {
            let (connections, steps) = (door.connections.clone(), steps.clone());
            let door = AwsApiDoor { connections, api, steps, age: self.settings.max_connection_age };
            tracker.spawn(door.accept(listener, tracker.clone()));
        }
        for listener in self.listeners {
            tracker.spawn(door.clone().accept(listener, tracker.clone()));
        }
        let upkeep = tokio::spawn(upkeep(self.cache.clone(), health.clone()));

        shutdown.await;
        upkeep.abort();
        // It must not say that the broker serves once the drain has said the opposite.
        let _ = upkeep.await;
        health.drain().await;
        drain(&steps, &tracker, self.settings.drain_timeout).await;
        self.cache.wait_for_fetches(FINAL_FLUSH).await;
    }
}

/// Everything that is served.
fn service(
    mut routes: RoutesBuilder,
    health: HealthServer<impl tonic_health::pb::health_server::Health>,
    steps: &Shutdown,
) -> Ending<Routes> {
    routes.add_service(health);
    DrainStreams::new(steps.drain.clone()).layer(routes.routes().prepare())
}

/// What has to be done now and then.
async fn upkeep(cache: CredentialCache, health: Health) {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    let watch = health.watch();
    tokio::pin!(watch);
    loop {
        tokio::select! {
            () = &mut watch => return,
            _ = sweep.tick() => cache.sweep().await,
        }
    }
}

/// Lets what is in flight finish; past the limit it is answered with an error, and then cut.
async fn drain(steps: &Shutdown, tracker: &TaskTracker, limit: Duration) {
    info!(connections = tracker.len(), "shutting down");
    steps.drain.cancel();
    tracker.close();
    if tokio::time::timeout(limit, tracker.wait()).await.is_ok() {
        return;
    }
    warn!(connections = tracker.len(), "the drain took too long; what is left is cut off");
    steps.cut.cancel();
    if tokio::time::timeout(FINAL_FLUSH, tracker.wait()).await.is_err() {
        steps.abort.cancel();
        tracker.wait().await;
    }
}
