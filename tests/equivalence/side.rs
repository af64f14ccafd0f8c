//! One of the two brokers, with its own source, clock, audit log and connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ecr_broker::app::{App, Parts, Upstream};
use ecr_broker::audit::{self, OnFailure, Output};
use ecr_broker::broker::Broker;
use ecr_broker::cache::{CredentialCache, KeyOrder, KeyQuery};
use ecr_broker::config::Config;
use ecr_broker::limits::Limits;
use ecr_broker::metrics::{Exposition, Format};
use ecr_broker::profile::{Access, Attribution, ExtraPermissions, Profile, SessionTags};
use ecr_broker::rejections::RejectionRecorder;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::call::{ALIAS, CI, Call, MINE};
use crate::normal;
use crate::policies::policy;
use crate::proofs::{Identity, Proofs};
use crate::source::Source;
use crate::spans::Spans;
use crate::support::{ManualClock, Setup, audit_settings, cache_settings, put_directory_at};
use crate::wire::{Answer, Wire, WireRequest};
use crate::world::{GRID, World};

/// Connections of each broker: two over the Unix socket, and the others over loopback. With TLS each of these has its identity.
pub const CONNECTIONS: usize = LOCAL + IDENTITIES.len();
const LOCAL: usize = 2;
const IDENTITIES: [Identity; 3] = [Identity::Runner, Identity::Node, Identity::None];
/// Longest wait for a connection, and for a broker to come to rest.
const PATIENCE: Duration = Duration::from_mins(1);
/// The refresh of a credential, with 10 % of jitter: between two points of the grid on which the clocks move.
const REFRESH_AFTER: Duration = Duration::from_mins(35);

pub struct Side {
    pub clock: Arc<ManualClock>,
    pub source: Arc<Source>,
    pub broker: Arc<Broker>,
    pub cache: CredentialCache,
    rejections: RejectionRecorder,
    limits: Limits,
    exposition: Exposition,
    spans: Option<Spans>,
    tcp: std::net::SocketAddr,
    proofs: Arc<Proofs>,
    has_tls: bool,
    directory: tempfile::TempDir,
    has_audit: bool,
    /// Whether records wait while the log fails, and are written once it works.
    keeps_records: bool,
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
    pub fn start(world: &World, proofs: &Arc<Proofs>, fast_path: bool) -> Self {
        Self::start_as(world, proofs, fast_path, |_| ())
    }

    /// Starts a broker with a changed configuration.
    pub fn start_as(world: &World, proofs: &Arc<Proofs>, fast_path: bool, change: impl FnOnce(&mut Config)) -> Self {
        let mut threads = Builder::new_multi_thread();
        let spans = world.is_sampled.then(|| Spans::of_threads(&mut threads));
        let runtime = threads.worker_threads(world.workers).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let source = Source::new(&clock);
        let (upstream, auth) = (upstream(&source), proofs.material(&clock, world.has_tls));
        let tracing = spans.as_ref().map(Spans::tracing).unwrap_or_default();
        let parts = Parts { upstream: Some(upstream), auth, tracing, ..Parts::new(Arc::<ManualClock>::clone(&clock)) };
        let mut config = config(world, fast_path, &directory);
        change(&mut config);
        let app = app(config, parts, &runtime);
        let tcp = app
            .urls()
            .iter()
            .find_map(|url| url.strip_prefix(if world.has_tls { "grpcs://" } else { "grpc://" })?.parse().ok())
            .unwrap();
        let (broker, cache, rejections, exposition) = (app.broker(), app.cache(), app.rejections(), app.exposition());
        let limits = app.limits();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = runtime.spawn(app.run(async { _ = stopped.await }));
        Self {
            clock,
            source,
            broker,
            cache,
            rejections,
            limits,
            exposition,
            spans,
            tcp,
            proofs: Arc::clone(proofs),
            has_tls: world.has_tls,
            directory,
            has_audit: world.audit.is_some(),
            keeps_records: world.buffer.is_some() && world.audit == Some(0),
            read: 0,
            connections: vec![None; CONNECTIONS],
            last: None,
            stop: Some(stop),
            running: Some(running),
            runtime: Some(runtime),
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("broker.sock")
    }

    /// Returns the requests that count as in flight.
    pub fn admitted(&self) -> usize {
        self.limits.status().requests.used
    }

    pub fn audit_file(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    /// Starts a call on a connection, which is made if it is missing.
    pub async fn begin(&mut self, connection: usize, call: &Call) -> JoinHandle<Answer> {
        let (wire, request) = (self.wire(connection).await, self.request(call));
        tokio::spawn(wire.call(request))
    }

    /// Makes calls together, and returns their answers.
    pub async fn call_together(&mut self, connection: usize, calls: &[Call]) -> Vec<Answer> {
        let requests = calls.iter().map(|call| self.request(call)).collect();
        self.wire(connection).await.call_together(requests).await
    }

    pub fn request(&self, call: &Call) -> WireRequest {
        call.wire(self.last.as_deref(), |token| self.proofs.token(token, &self.clock))
    }

    async fn wire(&mut self, connection: usize) -> Wire {
        let place = connection % CONNECTIONS;
        if let Some(wire) = self.connections[place].as_ref().filter(|wire| wire.is_open()) {
            return wire.clone();
        }
        let made = timeout(PATIENCE, self.connect(place)).await.expect("a connection");
        self.connections[place] = Some(made.clone());
        made
    }

    async fn connect(&self, place: usize) -> Wire {
        if place < LOCAL {
            Wire::over_unix(&self.socket()).await
        } else if self.has_tls {
            Wire::over_tls(self.tcp, self.proofs.client(IDENTITIES[place - LOCAL], &self.clock)).await
        } else {
            Wire::over_tcp(self.tcp).await
        }
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

    /// Ends the connection of a client that has proved nothing by its connection.
    pub fn disconnect_unproved(&mut self) {
        if self.has_tls {
            let place = IDENTITIES.iter().position(|identity| *identity == Identity::None).unwrap();
            self.disconnect(LOCAL + place);
        }
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

    /// Makes the audit log's writes fail, or succeed again. The broker looks at the path again by its clock, and by the clock of the
    /// machine where records wait.
    pub async fn set_audit(&mut self, works: bool) {
        let file = self.audit_file();
        let is_broken = file.is_dir();
        if !self.has_audit || works != is_broken {
            return;
        }
        if works {
            std::fs::remove_dir(&file).unwrap();
            self.read = 0;
        } else {
            // Since the last failure no record may have been written.
            std::fs::OpenOptions::new().create(true).append(true).open(&file).unwrap();
            put_directory_at(&file);
        }
        self.clock.advance(GRID);
        if works && self.keeps_records {
            let written = async {
                while self.waiting_records() != 0 {
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, written).await.expect("the records are written");
        }
    }

    /// Returns the number of audit records that wait for the log to work again.
    pub fn waiting_records(&self) -> usize {
        sum(&self.scrape(), "ecr_broker_audit_buffered_records")
    }

    /// Returns the number of releases whose records did not fit among those that wait.
    pub fn lost_records(&self) -> usize {
        sum(&self.scrape(), "ecr_broker_audit_unrecorded_releases_total{record=\"lost\"}")
    }

    /// Returns the records of the log in their order.
    pub fn records(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.audit_file()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until no fetch is in flight, also none that a hit has started.
    pub async fn fetched(&self) {
        self.cache.wait_for_fetches(PATIENCE).await;
    }

    /// Waits until nothing is in flight, and does the broker's regular work.
    pub async fn rest(&mut self) {
        let rest = async {
            self.fetched().await;
            self.until_at_rest().await;
            self.fetched().await;
            self.rejections.finish().await;
            self.cache.sweep().await;
        };
        timeout(PATIENCE, rest).await.expect("the broker comes to rest");
    }

    /// Waits until no call is in flight, and all connections that ended are known.
    pub async fn until_at_rest(&self) {
        let rest = async {
            while !self.is_at_rest() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, rest).await.expect("no call is in flight");
    }

    /// Waits until so many requests count as in flight.
    pub async fn until_admitted(&self, count: usize) {
        let admitted = async {
            while self.admitted() != count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, admitted).await.expect("another number of requests");
    }

    /// Waits until a call is in flight.
    pub async fn until_in_flight(&self) {
        let in_flight = async {
            while sum(&self.scrape(), "ecr_broker_rpcs_in_flight") == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, in_flight).await.expect("a call is in flight");
    }

    fn is_at_rest(&self) -> bool {
        let open = self.connections.iter().flatten().filter(|wire| wire.is_open()).count();
        let scrape = self.scrape();
        sum(&scrape, "ecr_broker_rpcs_in_flight") == 0
            && sum(&scrape, "ecr_broker_watches") == 0
            && sum(&scrape, "ecr_broker_connections{") == open
            && self
                .spans
                .as_ref()
                .is_none_or(|spans| spans.ended() == sum(&scrape, "rpc_server_call_duration_seconds_count"))
    }

    fn scrape(&self) -> String {
        self.exposition.encode(Format::Prometheus)
    }

    /// Returns everything that operators see, and the calls of the source since the last time.
    pub async fn observe(&mut self) -> Vec<String> {
        let mut seen = normal::metrics(&self.scrape());
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
        let mut lines: Vec<_> = text[self.read..].lines().filter(|line| !line.is_empty()).map(normal::record).collect();
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

/// Returns the sum of the metrics with this name.
fn sum(scrape: &str, name: &str) -> usize {
    let of_name = scrape.lines().filter(|line| line.starts_with(name));
    of_name.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum()
}

impl Drop for Side {
    fn drop(&mut self) {
        // A waiting fetch ends with the runtime.
        self.runtime.take().unwrap().shutdown_background();
    }
}

fn config(world: &World, fast_path: bool, directory: &tempfile::TempDir) -> Config {
    let cache = ecr_broker::cache::Settings {
        capacity: world.capacity,
        refresh_after: REFRESH_AFTER,
        safety_margin: world.safety_margin,
        ..cache_settings()
    };
    let mut config = Setup::new(&cache, directory.path()).config;
    config.server.fast_path = fast_path;
    config.server.loopback = !world.has_tls;
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
    let on_failure = world.buffer.map_or(OnFailure::Refuse, |buffer| OnFailure::Release { buffer });
    config.audit = world.audit.map(|reserve| audit::Settings { reserve, on_failure, ..audit_settings(&output) });
    config
}

fn upstream(source: &Arc<Source>) -> Upstream {
    Upstream {
        source: Arc::<Source>::clone(source),
        region: Some("eu-central-1".parse().unwrap()),
        endpoints: Vec::new(),
        parent_addresses: Vec::new(),
        watches: Vec::new(),
    }
}

fn app(config: Config, parts: Parts, runtime: &Runtime) -> App {
    let _here = runtime.enter();
    futures_util::FutureExt::now_or_never(tokio::task::unconstrained(App::build(config, parts))).unwrap().unwrap()
}

fn profile(name: &str, attribution: Attribution) -> Profile {
    Profile {
        name: name.into(),
        role_chain: vec!["arn:{partition}:iam::{account}:role/pull".parse().unwrap()],
        access: Access::Full,
        repositories: Vec::new(),
        extra: ExtraPermissions::default(),
        session_tags: SessionTags::default(),
        attribution,
        source_identity: false,
        verify: None,
    }
}
