//! The composition root: builds the broker from its parts, runs it and shuts it down.
//!
//! [`serve`] is the life of the process, from its configuration to its exit. [`App`] is the broker in it. Tests, benchmarks and
//! fuzz targets build the same [`App`] from other [`Parts`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

pub use self::parts::{Parts, Upstream};
#[cfg(feature = "simulator")]
pub use self::simulation::Simulation;

use self::announce::Announcer;
use self::auth_material::AuthMaterial;
use self::shared_cache::Shared;
use crate::api::calls::Calls;
use crate::api::ecr::{self, EcrApi};
use crate::api::grpc;
use crate::api::grpc::middleware::Middleware;
use crate::audit::{self, AuditLog, Output};
use crate::authn::jwt::Issuers;
use crate::broker::{self, Broker};
use crate::cache::CredentialCache;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Diagnostic, Sources};
use crate::descriptor_store::{self, DescriptorStore, Fingerprint};
use crate::follow_file::FilesInEffect;
use crate::hops::InstanceId;
use crate::limits::{LimitHits, Limits};
use crate::metrics::{self, Exposition, Registry};
use crate::ops::Ops;
use crate::profile::ActiveProfiles;
use crate::registry::Region;
use crate::rejections::RejectionRecorder;
use crate::server::{
    self, ActivatedSockets, Connections, Drain, Endpoint, FINAL_FLUSH, GrpcService, Health, Server, ShutdownStages,
    grpc_service, refuse_loop,
};
use crate::service_manager::ServiceManager;
use crate::signal::Signals;
use crate::source;
use crate::source::broker::WatchDriver;
use crate::status::{self, StatusReporter};
use crate::telemetry::{self, Telemetry};
use crate::terminal::{print_line, stdout_is_journal};

mod announce;
pub mod auth_material;
mod background;
#[cfg(feature = "simulator")]
mod banner;
mod endpoints;
mod parts;
pub mod preflight;
mod process;
mod reload;
mod report;
mod shared_cache;
#[cfg(feature = "simulator")]
mod simulation;
mod upstream;

/// Time for threads that block, such as DNS lookups, to end at exit.
const THREAD_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for the exit beside the drain: the last flush of records and spans, and threads.
const EXIT_TIME: Duration = Duration::from_secs(10);

/// The input of a process that serves.
#[derive(Debug)]
pub struct Start {
    /// The sources of the configuration; grants are reloaded from them.
    pub sources: Sources,
    /// Listening sockets from the environment.
    pub sockets: ActivatedSockets,
    /// The service manager.
    pub manager: ServiceManager,
    /// What an earlier process left in the service manager's descriptor store.
    pub stored: descriptor_store::Inherited,
    /// The simulated AWS to put behind the broker; none: AWS.
    #[cfg(feature = "simulator")]
    pub simulation: Option<Simulation>,
}

/// Why a process could not serve.
#[derive(Debug)]
pub enum StartError {
    /// The configuration, or a file that it names, is invalid.
    Config(Vec<Diagnostic>),
    /// Something else failed.
    Other(anyhow::Error),
}

/// The status of a service that failed to start.
impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(diagnostics) => {
                let (first, further) = (diagnostics.first(), diagnostics.len().saturating_sub(1));
                write!(f, "the configuration is invalid")?;
                first.map_or(Ok(()), |first| write!(f, ": {first}"))?;
                if further > 0 { write!(f, " (and {further} more)") } else { Ok(()) }
            }
            Self::Other(error) => write!(f, "the start failed: {error:#}"),
        }
    }
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Runs the broker as this process. SIGTERM and SIGINT start its graceful shutdown; a second one ends the process at once.
///
/// # Errors
/// Fails if the configuration is invalid, or if the broker cannot start with it.
pub fn serve(start: Start) -> Result<(), StartError> {
    let config = Config::load(&start.sources).map_err(StartError::Config)?;
    let runtime = Runtime::new().context("cannot start the async runtime")?;
    let served = runtime.block_on(async {
        let signals = Signals::listen().context("cannot listen for signals")?;
        let mut metrics = Registry::default();
        let mut telemetry = telemetry::start(&config.log, &start.sources.environment, &mut metrics)?;
        let served = Box::pin(serve_until_signal(config, start, &mut telemetry, metrics, signals)).await;
        telemetry.flush().await;
        served
    });
    runtime.shutdown_timeout(THREAD_TIMEOUT);
    served
}

async fn serve_until_signal(
    config: Config,
    start: Start,
    telemetry: &mut Telemetry,
    mut metrics: Registry,
    mut signals: Signals,
) -> Result<(), StartError> {
    process::prepare(endpoints::max_connections(&config));
    #[cfg(feature = "simulator")]
    let config = simulation::start(start.simulation.as_ref(), config).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let auth = AuthMaterial::load(&config, &clock).map_err(StartError::Config)?;

    // Listen before any client can connect: without a receiver, SIGHUP ends the process.
    let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let in_effect = FilesInEffect::default();
    auth.follow_files(&in_effect)?;
    if let Some(tls) = &auth.tls {
        tls.log_mistakes();
    }
    let profiles = ActiveProfiles::new(config.profiles());
    let descriptor_store =
        Some(store_parts((&config, profiles.clone()), &start.sources, (start.stored, start.manager.clone())));
    let config_info = reload::ConfigInfo::new(&start.sources, &mut metrics);
    let tracing = telemetry.tracing();
    let (sockets, files, manager) = (start.sockets, in_effect.clone(), start.manager);
    let told = manager.clone();
    let (profiles, config_hash) = (Some(profiles), config_info.hash());
    let parts = Parts { auth, sockets, tracing, descriptor_store, manager: told, metrics, files, ..Parts::new(clock) };
    let parts = Parts { profiles, config_hash, ..parts.with_environment(&start.sources) };
    let app = tokio::select! {
        app = App::build(config, parts) => app?,
        () = signals.received() => return Ok(()),
    };
    telemetry.push_metrics(app.exposition());
    let hash = config_info.hash();
    report::log_start(&app.config, (&start.sources.files, &hash), &app.broker, &app.urls());
    if !stdout_is_journal() {
        app.urls().iter().try_for_each(|url| print_line(format_args!("listening on {url}")))?;
    }
    #[cfg(feature = "simulator")]
    if let Some(simulation) = &start.simulation {
        simulation.announce(&app.config)?;
        banner::print(&app.urls());
    }
    let (broker, issuers, keep_warm) = (app.broker(), app.broker.issuers(), app.keep_warm.clone());
    let started = Arc::new(reload::Started::new(&app.config, start.sources.clone()));
    let shown = config_info.clone();
    app.status.show_configuration_of(move || shown.hash());
    let reloads = app.status.reloads().clone();
    let following = in_effect.clone();
    let running =
        reload::Running { broker, issuers, keep_warm, started, in_effect: following, reloads, config_info, manager };
    tokio::spawn(background::configuration_health(in_effect, app.health.clone()));
    tokio::spawn(reload::follow_files(running, start.sources, hangup));
    app.run(process::shutdown(signals)).await;
    info!("broker stopped");
    Ok(())
}

/// A broker whose listeners are bound and that accepts no connection yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    cache: CredentialCache,
    descriptor_store: Option<DescriptorStore>,
    broker: Arc<Broker>,
    limits: Limits,
    rejections: RejectionRecorder,
    grpc: GrpcService,
    health: Health,
    exposition: Exposition,
    status: StatusReporter,
    parent_watches: Vec<WatchDriver>,
    /// The registries that are kept warm, which a reload replaces.
    keep_warm: watch::Sender<Vec<crate::registry::Registry>>,
    endpoints: Vec<Endpoint>,
    connections: Connections,
    shutdown: ShutdownStages,
    manager: ServiceManager,
}

impl App {
    /// Builds the broker from the source of its credentials up to its listeners.
    ///
    /// # Errors
    /// Fails if AWS cannot be configured, the audit log cannot be opened, or a listener cannot be bound.
    pub async fn build(config: Config, parts: Parts) -> anyhow::Result<Self> {
        let Parts {
            clock,
            upstream,
            auth,
            mut sockets,
            default_sockets,
            tracing,
            descriptor_store,
            manager,
            mut metrics,
            files,
            profiles,
            config_hash,
        } = parts;
        let profiles = profiles.unwrap_or_else(|| config.profiles().into());
        metrics::register_program(&mut metrics);
        let instance = InstanceId::random();

        let shared = Shared::start(&config, &auth, &mut metrics).filter(|_| upstream.is_none());
        let shared_cache = shared.as_ref().map(Shared::servers);
        let own = (instance, shared);
        let upstream = upstream::start((&config, &profiles), upstream, own, (&clock, &mut metrics)).await?;
        auth.register(&mut metrics);
        source::expose_regions(Arc::clone(&upstream.source), &mut metrics);
        let limit_hits = LimitHits::new(&mut metrics);
        let (settings, source) = (config.cache.clone(), upstream.source);
        let cache = CredentialCache::new(settings, source, Arc::clone(&clock), &limit_hits, &mut metrics);
        let descriptor_store = DescriptorStore::start(descriptor_store, &cache, &clock, &mut metrics).await;
        let rejections = rejection_recorder(&config, &clock, &mut metrics)?;
        let settings =
            broker_settings(&config, (profiles, auth.issuers.clone(), config_hash), upstream.region, instance);
        let broker = Arc::new(Broker::new(cache.clone(), settings, rejections.clone(), &mut metrics));
        let limits = Limits::new(config.limits.clone(), &clock, &limit_hits, &mut metrics);
        let shutdown = ShutdownStages::default();
        let (health, health_service) = Health::start(cache.clone()).await;
        let status = StatusReporter::new(status::Parts {
            readiness: health.readiness().clone(),
            cache: cache.clone(),
            broker: Arc::clone(&broker),
            limits: limits.clone(),
            audit: rejections.audit_log().cloned(),
            descriptor_store: descriptor_store.clone(),
            shared_cache,
            clock,
            files,
        });
        status.reloads().register(&mut metrics);
        let watch_age = config.server.connections.max_connection_age;
        let routes = grpc::routes(Arc::clone(&broker), limits.clone(), status.clone(), watch_age);
        let force_shutdown = shutdown.force_shutdown.clone();
        let records = rejections.clone();
        let issuers = auth.issuers.clone();
        let calls = Calls::new(&mut metrics);
        let telemetry = ecr::Telemetry { tracing: tracing.clone(), calls: calls.clone() };
        let middleware = Middleware::new(tracing, issuers, limits.clone(), records, force_shutdown, calls)
            .keeping_tokens(config.parents.iter().any(|parent| parent.forward_callers));
        let middleware =
            if config.server.fast_path { middleware.with_fast_path(Arc::clone(&broker)) } else { middleware };
        let grpc = grpc_service(routes, health_service, &middleware, &shutdown);

        let connections = &config.server.connections;
        let connections = Connections::new(connections, limits.unproved(), &limit_hits, &mut metrics);
        // Every module is registered: what is built from here on serves.
        let exposition = Exposition::new(metrics);

        // Bind the ECR API first, because its secret may be invalid: no client may connect to a broker that then fails to start.
        let ecr_api = config.server.aws_api.as_ref().map(|api| {
            let secret = auth.ecr_api_secret.clone();
            let ecr_api =
                |secret| EcrApi::new(Arc::clone(&broker), limits.clone(), rejections.clone(), secret, telemetry);
            endpoints::ecr_api(api, secret, &mut sockets, ecr_api)
        });
        let ecr_api = ecr_api.transpose()?;
        let ops = config.server.ops.as_ref().map(|ops| {
            let pages = Ops::new(&ops.hosts, health.readiness().clone(), exposition.clone(), status.clone());
            endpoints::ops(ops, pages, &auth, rejections.clone(), &mut sockets)
        });
        let ops = ops.transpose()?;
        let json = endpoints::json(&config, &auth, grpc.clone(), (&limits, &rejections), &mut sockets)?;
        let listeners = endpoints::bind(&config, &default_sockets, &mut sockets)?;
        let mut endpoints = endpoints::grpc(listeners, &config, &auth, grpc.clone(), (&limits, &rejections));
        endpoints.extend(json.into_iter().chain(ecr_api).chain(ops));
        refuse_loop("AWS endpoint", &upstream.endpoints, &endpoints).await?;
        refuse_loop("parent address", &upstream.parent_addresses, &endpoints).await?;
        Ok(Self {
            keep_warm: watch::Sender::new(config.keep_warm.clone()),
            config,
            cache,
            descriptor_store,
            broker,
            limits,
            rejections,
            grpc,
            health,
            exposition,
            status,
            parent_watches: upstream.watches,
            endpoints,
            connections,
            shutdown,
            manager,
        })
    }

    /// Serves until `shutdown` completes, then shuts down gracefully.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { config, cache, descriptor_store, broker, health, rejections, manager, .. } = self;
        let &server::Settings { drain_delay, drain_timeout, .. } = &config.server.connections;
        let server = Server::start(self.endpoints, &config.server.connections, self.connections, self.shutdown);
        self.status.count_connections_by(server.connections());
        let readiness = health.readiness().clone();
        let announcer = Announcer {
            manager: manager.clone(),
            readiness: readiness.clone(),
            cache: cache.clone(),
            reloads: self.status.reloads().clone(),
            connections: server.connections(),
        };
        let announcements = background::announcements(announcer.clone(), health.clone());
        let first_fill = background::first_fill(Arc::clone(&broker), config.keep_warm, readiness);
        let keep_warm = background::keep_warm(broker, self.keep_warm.subscribe());
        let maintenance = background::maintenance(cache.clone(), health.clone());
        let copies = background::copies(descriptor_store.clone(), cache.clone());
        let parent_watches = background::parent_watches(self.parent_watches, cache.clone());
        let rejection_counts = background::rejection_counts(rejections.clone());

        shutdown.await;

        report::log_shutdown(&config.server.connections, server.open_connections(Drain::First));
        first_fill.abort();
        keep_warm.abort();
        maintenance.abort();
        parent_watches.abort();
        health.drain().await;
        manager.stopping(drain_delay + drain_timeout + EXIT_TIME, &announcer.line());
        tokio::time::sleep(drain_delay).await;
        server.drain(Drain::First, drain_timeout).await;
        cache.wait_for_fetches(FINAL_FLUSH).await;
        copies.abort();
        if let Some(store) = descriptor_store {
            store.write(&cache).await;
        }
        server.drain(Drain::Last, FINAL_FLUSH).await;
        rejection_counts.abort();
        // What is left then is at least in the log: its lines come first.
        let _ = tokio::time::timeout(FINAL_FLUSH, rejections.finish()).await;
        announcements.abort();
    }

    /// Returns the URLs by which clients reach the endpoints, with the ports that the system chose.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.endpoints.iter().map(Endpoint::url).collect()
    }

    /// Returns the gRPC services, for a caller in this process.
    #[must_use]
    pub fn grpc_service(&self) -> GrpcService {
        self.grpc.clone()
    }

    /// Returns the broker.
    #[must_use]
    pub fn broker(&self) -> Arc<Broker> {
        Arc::clone(&self.broker)
    }

    /// Returns the credential cache.
    #[must_use]
    pub fn cache(&self) -> CredentialCache {
        self.cache.clone()
    }

    /// Returns the recorder of denials and failures.
    #[must_use]
    pub fn rejections(&self) -> RejectionRecorder {
        self.rejections.clone()
    }

    /// Returns the metrics of every module.
    #[must_use]
    pub fn exposition(&self) -> Exposition {
        self.exposition.clone()
    }

    /// Returns the limits of callers and origins.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.clone()
    }
}

/// Returns the parts of the store for a configuration from the process's sources.
fn store_parts(
    (config, profiles): (&Config, ActiveProfiles),
    sources: &Sources,
    stored: (descriptor_store::Inherited, ServiceManager),
) -> descriptor_store::Parts {
    let settings = descriptor_store::Settings {
        memory: config.restart_memory,
        aws: Fingerprint::of_aws(&config.aws, sources.sdk_settings()).with_parents(&config.parents),
        profiles,
    };
    let (inherited, manager) = stored;
    descriptor_store::Parts { inherited, manager, settings }
}

fn broker_settings(
    config: &Config,
    (profiles, issuers, hash): (ActiveProfiles, Option<Arc<Issuers>>, String),
    region: Option<Region>,
    instance: InstanceId,
) -> broker::Settings {
    broker::Settings {
        policy: config.policy.clone(),
        profiles,
        parents: config.parents.clone(),
        region,
        regions: named_regions(config),
        aliases: config.aliases.clone(),
        keep_warm: config.keep_warm.clone(),
        issuers,
        config: hash,
        max_min_validity: config.max_min_validity,
        loopback_operates: config.aws.simulated_credentials,
        instance,
    }
}

/// Opens the audit log, if there is one, and returns what records denials in it.
fn rejection_recorder(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &mut Registry,
) -> anyhow::Result<RejectionRecorder> {
    let audit = config.audit.as_ref().map(|settings| open_audit_log(settings, clock)).transpose()?;
    if let Some(audit) = &audit {
        audit.register(metrics);
    }
    Ok(RejectionRecorder::new(config.denials_recorded_per_second, audit, Arc::clone(clock), metrics))
}

/// Returns the regions that settings name which a reload does not replace.
fn named_regions(config: &Config) -> Vec<Region> {
    let of_endpoints = config.aws.ecr_endpoints.keys().filter_map(|region| region.parse().ok());
    config.aws.regions.iter().cloned().chain(of_endpoints).collect()
}

fn open_audit_log(settings: &audit::Settings, clock: &Arc<dyn Clock>) -> anyhow::Result<AuditLog> {
    AuditLog::open(settings, Arc::clone(clock)).with_context(|| match &settings.output {
        Output::File(path) => format!("audit.output: cannot write to {}", path.display()),
        Output::Stderr | Output::Stdout => "audit.output".to_owned(),
    })
}
