//! One of the two brokers, with its own source, clock, audit log and connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ecr_broker::api::trace::Tracing;
use ecr_broker::app::{App, Parts, Upstream};
use ecr_broker::audit::Output;
use ecr_broker::broker::Broker;
use ecr_broker::cache::{CredentialCache, KeyOrder, KeyQuery};
use ecr_broker::metrics::{Exposition, Format};
use ecr_broker::profile::{Access, Attribution, Profile};
use ecr_broker::rejections::RejectionRecorder;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::call::{ALIAS, CI, Call, MINE};
use crate::normal;
use crate::policies::policy;
use crate::source::Source;
use crate::spans::Spans;
use crate::support::{ManualClock, Setup, audit_settings, cache_settings, put_directory_at};
use crate::wire::{Answer, Wire};
use crate::world::{GRID, World};

/// Connections of each broker: the first half over the Unix socket, the others over loopback.
pub const CONNECTIONS: usize = 4;
/// Longest wait for a broker to come to rest.
const PATIENCE: Duration = Duration::from_mins(1);
/// The refresh of a credential, with 10 % of jitter: between two points of the grid on which the clocks move.
const REFRESH_AFTER: Duration = Duration::from_mins(35);

pub struct Side {
    pub clock: Arc<ManualClock>,
    pub source: Arc<Source>,
    pub broker: Arc<Broker>,
    pub cache: CredentialCache,
    rejections: RejectionRecorder,
    exposition: Exposition,
    spans: Option<Spans>,
    tcp: std::net::SocketAddr,
    directory: tempfile::TempDir,
    has_audit: bool,
    /// Bytes of the audit log that were read.
    read: usize,
    connections: Vec<Option<Wire>>,
    /// The ID of the credential that a client received last.
    last: Option<String>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
    // Last: it is dropped after everything that runs on it.
    runtime: Option<Runtime>,
}

impl Side {
    pub fn start(world: &World, fast_path: bool) -> Self {
        // The audit log writes without its thread only where another worker goes on.
        let mut threads = Builder::new_multi_thread();
        let spans = world.is_sampled.then(|| Spans::of_threads(&mut threads));
        let runtime = threads.worker_threads(2).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let source = Source::new(&clock);
        let tracing = spans.as_ref().map(Spans::tracing).unwrap_or_default();
        let app = app(world, (fast_path, tracing), &directory, (&clock, &source), &runtime);
        let tcp = app.urls().iter().find_map(|url| url.strip_prefix("grpc://")?.parse().ok()).unwrap();
        let (broker, cache, rejections, exposition) = (app.broker(), app.cache(), app.rejections(), app.exposition());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = runtime.spawn(app.run(async { _ = stopped.await }));
        Self {
            clock,
            source,
            broker,
            cache,
            rejections,
            exposition,
            spans,
            tcp,
            directory,
            has_audit: world.audit,
            read: 0,
            connections: vec![None; CONNECTIONS],
            last: None,
            stop: Some(stop),
            running: Some(running),
            runtime: Some(runtime),
        }
    }

    fn audit_file(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    /// Starts a call on a connection, which is made if it is missing.
    pub async fn begin(&mut self, connection: usize, call: &Call) -> JoinHandle<Answer> {
        let place = connection % CONNECTIONS;
        if self.connections[place].as_ref().is_none_or(|wire| !wire.is_open()) {
            let is_local = place < CONNECTIONS / 2;
            let socket = self.directory.path().join("broker.sock");
            let made = if is_local { Wire::over_unix(&socket).await } else { Wire::over_tcp(self.tcp).await };
            self.connections[place] = Some(made);
        }
        let wire = self.connections[place].clone().unwrap();
        tokio::spawn(wire.call(call.wire(self.last.as_deref())))
    }

    /// Returns an answer without what is random in it, and learns the credential's ID.
    pub fn understand(&mut self, answer: &Answer, call: &Call) -> normal::Normal {
        let normal = normal::Normal::of(answer, call);
        if let Some(id) = &normal.credential_id {
            self.last = Some(id.clone());
        }
        normal
    }

    pub fn disconnect(&mut self, connection: usize) {
        self.connections[connection % CONNECTIONS] = None;
    }

    /// Waits until a call is answered or waits for a fetch.
    pub async fn until_answered_or_waiting(&self, call: &JoinHandle<Answer>, waiting: usize) {
        let rest = async {
            while !call.is_finished() && self.cache.waiting() == waiting {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, rest).await.expect("an answer, or a wait for the source");
    }

    /// Makes the audit log's writes fail, or succeed again. The broker looks at the path again by its clock.
    pub fn set_audit(&mut self, works: bool) {
        let file = self.audit_file();
        let is_broken = file.is_dir();
        if !self.has_audit || works != is_broken {
            return;
        }
        if works {
            std::fs::remove_dir(&file).unwrap();
            self.read = 0;
        } else {
            put_directory_at(&file);
        }
        self.clock.advance(GRID);
    }

    /// Waits until no fetch is in flight, also none that a hit has started.
    pub async fn fetched(&self) {
        self.cache.wait_for_fetches(PATIENCE).await;
    }

    /// Waits until nothing is in flight, and does the broker's regular work.
    pub async fn rest(&mut self) {
        let rest = async {
            self.fetched().await;
            while !self.is_at_rest() {
                tokio::task::yield_now().await;
            }
            self.fetched().await;
            self.rejections.finish().await;
            self.cache.sweep().await;
        };
        timeout(PATIENCE, rest).await.expect("the broker comes to rest");
    }

    fn is_at_rest(&self) -> bool {
        let open = self.connections.iter().flatten().filter(|wire| wire.is_open()).count();
        let scrape = self.exposition.encode(Format::Prometheus);
        let sum = |name: &str| -> usize {
            let of_name = scrape.lines().filter(|line| line.starts_with(name));
            of_name.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum()
        };
        sum("ecr_broker_rpcs_in_flight") == 0
            && sum("ecr_broker_watches") == 0
            && sum("ecr_broker_connections{") == open
            && self.spans.as_ref().is_none_or(|spans| spans.ended() == sum("rpc_server_call_duration_seconds_count"))
    }

    /// Returns everything that operators see, and the calls of the source since the last time.
    pub async fn observe(&mut self) -> Vec<String> {
        let mut seen = normal::metrics(&self.exposition.encode(Format::Prometheus));
        seen.extend(self.audit_lines());
        seen.extend(self.source.take_calls());
        seen.extend(self.spans.iter().flat_map(Spans::take));
        let query = KeyQuery { order: KeyOrder::Registry, limit: 1_000, ..KeyQuery::default() };
        seen.extend(normal::keys(self.cache.keys(&query).await));
        seen.push(self.broker.policy_name());
        seen
    }

    /// Returns the new records sorted: calls at once race for theirs.
    fn audit_lines(&mut self) -> Vec<String> {
        let Ok(text) = std::fs::read_to_string(self.audit_file()) else { return Vec::new() };
        let mut lines: Vec<_> = text[self.read..].lines().map(normal::record).collect();
        lines.sort();
        self.read = text.len();
        lines
    }

    /// Starts the shutdown.
    pub fn begin_shutdown(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end of the shutdown.
    pub async fn until_stopped(&mut self) {
        self.connections.fill(None);
        timeout(PATIENCE, self.running.take().unwrap()).await.expect("the broker stops").unwrap();
        self.rest().await;
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // A waiting fetch ends with the runtime.
        self.runtime.take().unwrap().shutdown_background();
    }
}

fn app(
    world: &World,
    (fast_path, tracing): (bool, Tracing),
    directory: &tempfile::TempDir,
    (clock, source): (&Arc<ManualClock>, &Arc<Source>),
    runtime: &Runtime,
) -> App {
    let cache =
        ecr_broker::cache::Settings { capacity: world.capacity, refresh_after: REFRESH_AFTER, ..cache_settings() };
    let mut config = Setup::new(&cache, directory.path()).config;
    config.server.fast_path = fast_path;
    config.server.connections.drain_delay = Duration::ZERO;
    config.server.connections.drain_timeout = world.end.drain_timeout();
    config.policy = policy(world.policy);
    config.aws.profiles = vec![profile(CI, Attribution::Broker), profile(MINE, Attribution::Caller)];
    config.aliases.add(ALIAS, crate::support::host(0).parse().unwrap()).unwrap();
    if world.has_tight_limits {
        let few = 2.try_into().unwrap();
        (config.limits.requests_per_second, config.limits.local_requests_per_second) = (few, few);
    }
    let output = Output::File(directory.path().join("audit.jsonl"));
    config.audit = world.audit.then(|| audit_settings(&output));
    let upstream = Upstream {
        source: Arc::<Source>::clone(source),
        region: Some("eu-central-1".parse().unwrap()),
        endpoints: Vec::new(),
        parent_addresses: Vec::new(),
        watches: Vec::new(),
    };
    let parts = Parts { upstream: Some(upstream), tracing, ..Parts::new(Arc::<ManualClock>::clone(clock)) };
    let _here = runtime.enter();
    futures_util::FutureExt::now_or_never(tokio::task::unconstrained(App::build(config, parts))).unwrap().unwrap()
}

fn profile(name: &str, attribution: Attribution) -> Profile {
    Profile {
        name: name.into(),
        role_chain: vec!["arn:{partition}:iam::{account}:role/pull".parse().unwrap()],
        access: Access::Full,
        repositories: Vec::new(),
        attribution,
        source_identity: false,
        verify: None,
    }
}
