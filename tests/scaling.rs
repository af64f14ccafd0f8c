//! The model of a fleet (`cargo run --example fleet`) against brokers that run: both call AWS equally often.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod attack;
mod certificates;
#[allow(dead_code, unused_imports, reason = "the example prints the rest")]
#[path = "../benches/fleet/model.rs"]
mod model;
mod program;
mod raw_frames;
mod support;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use attack::{Scene, Setup as SceneSetup, attacker};
use ecr_broker::app::{App, Parts};
use ecr_broker::clock::{Clock, SystemClock};
use ecr_broker::config::Config;
use ecr_broker::credential::{CredentialKey, ProfileName};
use ecr_broker::metrics::Registry;
use ecr_broker::pb;
use ecr_broker::policy::{Accounts, RegistryPattern};
use ecr_broker::profile::{Access, Attribution, ExtraPermissions, Profile, SessionTags};
use ecr_broker::simulator::{self, Controls, Simulator};
use ecr_broker::source::broker::{self, Fallback};
use ecr_broker::source::shared_cache::entry_key::{EntryKeys, EntryParts};
use ecr_broker::source::shared_cache::key_ring::KeyRing;
use ecr_broker::source::shared_cache::keys::Keys;
use ecr_broker::source::shared_cache::memory::MemoryTier;
use ecr_broker::source::shared_cache::tier::Tier;
use ecr_broker::source::shared_cache::{Metrics, SharedCache};
use futures_util::future::join_all;
use model::{Farm, Identity, Quotas, Scope, Shape, simulate};
use support::*;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Twenty nodes with five registries each; five of the nodes start again.
const SMALL: Farm = Farm {
    nodes: 20,
    keys: 5,
    regions: 1,
    public: false,
    joining: 20,
    join_time: 1.0,
    restarts_per_day: 12.0,
    hours: 0.5,
    pulls_per_hour: 60.0,
    latency: 0.02,
    quotas: Quotas { ecr: 500.0, public: 200.0, sts: 600.0 },
    identity: Identity::Own,
    parents: 1,
    round_trip: 0.001,
    seed: 1,
};
const RESTARTS: u32 = 5;

/// A broker in this process whose AWS is simulated.
struct RunningBroker {
    client: Client,
    /// Its address on loopback.
    tcp: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

/// Starts the simulated AWS of a fleet.
async fn simulated_aws() -> (String, Controls) {
    let settings = simulator::Settings { latency: Duration::from_millis(20), ..simulator::Settings::default() };
    let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), settings).await.unwrap();
    let (endpoint, controls) = (format!("http://{}", simulator.address()), simulator.controls());
    tokio::spawn(simulator.run_until(pending()));
    (endpoint, controls)
}

fn pull_role() -> Profile {
    Profile {
        name: "pull".into(),
        role_chain: vec!["arn:{partition}:iam::{account}:role/pull".parse().unwrap()],
        access: Access::Full,
        repositories: Vec::new(),
        extra: ExtraPermissions::default(),
        session_tags: SessionTags::default(),
        attribution: Attribution::Broker,
        source_identity: false,
        verify: None,
    }
}

impl RunningBroker {
    /// Starts a broker that asks AWS.
    async fn start(endpoint: &str) -> Self {
        Self::start_with(|config| {
            let endpoint = || Some(endpoint.to_owned());
            (config.aws.ecr_endpoint, config.aws.sts_endpoint) = (endpoint(), endpoint());
            config.aws.simulated_credentials = true;
            config.aws.profiles = vec![pull_role()];
        })
        .await
    }

    /// Starts a broker that asks another one.
    async fn start_below(parent: &Self) -> Self {
        let address = format!("http://{}", parent.tcp).parse().unwrap();
        let all = RegistryPattern::Private { accounts: Accounts::Any, regions: vec!["*".parse().unwrap()] };
        Self::start_with(|config| {
            config.parents = vec![broker::Settings {
                name: "central".parse().unwrap(),
                addresses: vec![address],
                tls_ca: None,
                tls_identity: None,
                token_file: None,
                registries: vec![all],
                profiles: vec![ProfileName::default_profile()],
                fallback: Fallback::None,
                forward_callers: false,
            }];
        })
        .await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Setup::new(&cache_settings(), directory.path()).config;
        config.server.aws_api = None;
        change(&mut config);
        let app = Box::pin(App::build(config, Parts::new(Arc::new(SystemClock::new())))).await.unwrap();
        let tcp = app.urls().iter().find_map(|url| url.strip_prefix("grpc://")).unwrap().to_owned();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(app.run(async { _ = stopped.await }));
        let uri = format!("unix://{}", directory.path().join("broker.sock").display());
        let client = Client::connect(uri).await.unwrap();
        Self { client, tcp, stop, running, _directory: directory }
    }

    /// Requests all registries of a node at once, as jobs of a node that has just started do.
    async fn use_all(&self, profile: &str) {
        let call = |key: u32| {
            let host = format!("{:012}.dkr.ecr.eu-central-1.amazonaws.com", u64::from(key) + 1);
            let message = pb::GetRegistryCredentialsRequest { profile: profile.to_owned(), ..request(&host) };
            let mut client = self.client.clone();
            async move { client.get_registry_credentials(message).await.unwrap() }
        };
        join_all((0..SMALL.keys).map(call)).await;
    }

    async fn stop(self) {
        _ = self.stop.send(());
        drop(self.client);
        self.running.await.unwrap();
    }
}

/// Runs the small farm with brokers of which each asks AWS.
async fn run_alone(profile: &str) -> Controls {
    let (endpoint, aws) = simulated_aws().await;
    let brokers = join_all((0..SMALL.nodes).map(|_| RunningBroker::start(&endpoint))).await;
    join_all(brokers.iter().map(|broker| broker.use_all(profile))).await;
    let mut brokers = brokers.into_iter();
    for broker in brokers.by_ref().take(RESTARTS as usize) {
        broker.stop().await;
        let again = RunningBroker::start(&endpoint).await;
        again.use_all(profile).await;
        again.stop().await;
    }
    join_all(brokers.map(RunningBroker::stop)).await;
    aws
}

/// Runs the small farm behind one central broker.
async fn run_behind_a_central_broker() -> Controls {
    let (endpoint, aws) = simulated_aws().await;
    let parent = RunningBroker::start(&endpoint).await;
    let mut nodes = Vec::new();
    for _ in 0..SMALL.nodes {
        nodes.push(RunningBroker::start_below(&parent).await);
    }
    join_all(nodes.iter().map(|node| node.use_all(""))).await;
    let mut nodes = nodes.into_iter();
    for node in nodes.by_ref().take(RESTARTS as usize) {
        node.stop().await;
        let again = RunningBroker::start_below(&parent).await;
        again.use_all("").await;
        again.stop().await;
    }
    join_all(nodes.map(RunningBroker::stop)).await;
    parent.stop().await;
    aws
}

#[tokio::test(flavor = "multi_thread")]
async fn model_and_brokers_behind_a_central_one_make_equally_many_calls() {
    let aws = run_behind_a_central_broker().await;
    for shape in [Shape::Unary, Shape::Watch] {
        assert_eq!(simulate(&SMALL, shape, Scope::Account).ecr.total, aws.calls(), "{shape:?}");
    }
    assert_eq!(aws.calls(), u64::from(SMALL.keys));
}

#[tokio::test(flavor = "multi_thread")]
async fn model_and_brokers_of_nodes_alone_make_equally_many_calls() {
    let aws = run_alone("").await;
    let outcome = simulate(&SMALL, Shape::Alone, Scope::Account);
    assert_eq!(outcome.ecr.total, aws.calls());
    assert_eq!(outcome.ecr.total, u64::from((SMALL.nodes + RESTARTS) * SMALL.keys));
}

#[tokio::test(flavor = "multi_thread")]
async fn model_and_brokers_with_a_role_make_equally_many_calls() {
    let aws = run_alone("pull").await;
    let farm = Farm { identity: Identity::Role, ..SMALL };
    let outcome = simulate(&farm, Shape::Alone, Scope::Account);
    // Beside a session for each account, a broker asks once for the name of its identity.
    let sessions = outcome.sts.total - u64::from(SMALL.nodes + RESTARTS);
    assert_eq!((outcome.ecr.total, sessions), (aws.calls(), aws.sessions().len() as u64));
}

/// Three central brokers with one tier, which all start cold; then all start again.
#[tokio::test(flavor = "multi_thread")]
async fn model_and_replicas_with_a_tier_make_equally_many_calls() {
    let clock = ManualClock::new();
    let source = ScriptedSource::new(&clock);
    source.delay(Duration::from_millis(20));
    let ring = Arc::new(KeyRing::new(&Keys::random().unwrap()).unwrap());
    let (tier, metrics) = (Arc::new(MemoryTier::default()), Metrics::new(&mut Registry::default()));
    let replica = || {
        let (tier, clock) = (Arc::clone(&tier) as Arc<dyn Tier>, Arc::clone(&clock) as Arc<dyn Clock>);
        let (ring, clock_of_layer) = (Arc::clone(&ring), Arc::clone(&clock));
        let layer = SharedCache::new(Arc::clone(&source), tier, ring, Arc::new(ByKey), clock_of_layer, metrics.clone());
        cache(cache_settings(), Arc::new(layer), clock)
    };
    for _ in 0..2 {
        let replicas: Vec<_> = (0..3).map(|_| replica()).collect();
        let hosts: Vec<_> = (0..SMALL.keys as usize).map(host).collect();
        let lookups = replicas.iter().flat_map(|replica| hosts.iter().map(|host| replica.get(lookup(host))));
        assert!(join_all(lookups).await.iter().all(Result::is_ok));
    }
    let farm = Farm { parents: 3, restarts_per_day: 48.0, ..SMALL };
    assert_eq!(simulate(&farm, Shape::Tier, Scope::Account).ecr.total, source.calls());
    assert_eq!(source.calls(), u64::from(SMALL.keys));
}

/// Tells entries apart by their keys.
#[derive(Debug)]
struct ByKey;

impl EntryKeys for ByKey {
    fn parts(&self, key: &CredentialKey) -> Option<EntryParts> {
        Some(EntryParts {
            service: "ecr",
            partition: "aws",
            account: key.registry.host()?,
            region: String::new(),
            endpoint: String::new(),
            identity: "fleet".to_owned(),
            session_policy: String::new(),
            attribution: String::new(),
        })
    }
}

#[test]
fn model_of_one_seed_has_one_outcome() {
    let farm = Farm { nodes: 60, joining: 30, ..SMALL };
    for shape in Shape::ALL {
        let run = |seed| {
            let outcome = simulate(&Farm { seed, ..farm.clone() }, shape, Scope::Account);
            (outcome.ecr.total, outcome.first, outcome.all, outcome.tier)
        };
        assert_eq!(run(7), run(7), "{shape:?}");
        assert_ne!(run(7).2, run(8).2, "{shape:?}");
    }
}

#[test]
fn model_of_central_brokers_asks_once_for_each_key_and_broker() {
    let farm = Farm { parents: 3, restarts_per_day: 0.0, ..SMALL };
    let calls = |shape, scope| simulate(&farm, shape, scope).ecr.total;
    for (shape, by_account, by_identity) in
        [(Shape::Alone, 100, 20), (Shape::Unary, 15, 3), (Shape::Watch, 15, 3), (Shape::Tier, 5, 1)]
    {
        assert_eq!(
            (calls(shape, Scope::Account), calls(shape, Scope::Identity)),
            (by_account, by_identity),
            "{shape:?}"
        );
    }
}

/// Central brokers that start again fetch everything again, unless the tier has it.
#[test]
fn model_of_restarts_makes_no_call_with_the_tier() {
    let farm = Farm { parents: 3, restarts_per_day: 48.0, ..SMALL };
    let calls = |shape| simulate(&farm, shape, Scope::Account).ecr.total;
    assert_eq!((calls(Shape::Watch), calls(Shape::Tier)), (30, 5));
}

#[test]
fn model_of_a_running_farm_serves_nodes_that_join_without_a_burst() {
    let farm = Farm { nodes: 60, joining: 30, parents: 3, restarts_per_day: 0.0, ..SMALL };
    let peak = |shape| simulate(&farm, shape, Scope::Account).ecr.peak;
    assert!(peak(Shape::Alone) >= SMALL.keys);
    for shape in [Shape::Unary, Shape::Watch, Shape::Tier] {
        assert!(peak(shape) < SMALL.keys, "{shape:?}: {}", peak(shape));
    }
}

#[test]
fn model_of_a_farm_beyond_the_quota_is_throttled_and_served() {
    let quotas = Quotas { ecr: 50.0, ..SMALL.quotas };
    let farm = Farm { nodes: 100, joining: 100, restarts_per_day: 0.0, quotas, ..SMALL };
    let alone = simulate(&farm, Shape::Alone, Scope::Account);
    assert!(alone.ecr.throttled > 0 && alone.all.p99 > 5.0, "{alone:?}");
    assert_eq!(alone.ecr.total - alone.ecr.throttled, 500);
    let central = simulate(&farm, Shape::Watch, Scope::Account);
    assert!(central.ecr.throttled == 0 && central.all.p99 < 1.0, "{central:?}");
}

/// The figures of `benches/fleet/model/figures.rs`. `TESTED_PROGRAM` names an optimised build.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures the constants of the model"]
async fn memory_and_cpu_of_keys_connections_and_watches() {
    const NODES: u32 = 500;
    const KEYS: u32 = 20;
    const NODE: &str = "spiffe://a.example/ns/fleet/sa/node";
    let grant = format!(
        "[[grants]]\nid = \"fleet\"\ncallers = [{{ spiffe = \"{NODE}\" }}]\n\
         registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n"
    );
    let environment = vec![
        ("ECR_BROKER_SERVER_MAX_CONNECTIONS_PER_ADDRESS", "1000".to_owned()),
        ("ECR_BROKER_LIMITS_REQUESTS_PER_SECOND", "100000".to_owned()),
    ];
    let setup = SceneSetup { environment, tables: grant, memory_mb: None, ..SceneSetup::default() };
    let scene = Scene::start(setup).await;
    let host = |key: u32| format!("{:012}.dkr.ecr.eu-central-1.amazonaws.com", u64::from(key) + 1);
    let requests = |count: u32, from: u32| (from..from + count).map(|key| request(&host(key))).collect::<Vec<_>>();
    let kilobytes = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", scene.broker.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u32>().unwrap()
    };
    let state = || (kilobytes(), scene.broker.cpu_seconds());
    let per = |name: &str, count: u32, (before, after): ((u32, f64), (u32, f64))| {
        let (memory, cpu) = (f64::from(after.0) - f64::from(before.0), after.1 - before.1);
        let (each, micros) = (memory / f64::from(count), cpu * 1e6 / f64::from(count));
        println!("{name}: {each:.1} KB and {micros:.0} us each");
    };
    let endpoint = scene.certified(NODE, attacker(1));
    let first = Client::new(endpoint.connect().await.unwrap());
    let batch = |from| pb::BatchGetRegistryCredentialsRequest { requests: requests(100, from) };
    first.clone().batch_get_registry_credentials(batch(0)).await.unwrap();
    let before = state();
    for from in 1..50 {
        first.clone().batch_get_registry_credentials(batch(from * 100)).await.unwrap();
    }
    per("cached credential", 4_900, (before, state()));
    let before = state();
    let mut clients = Vec::new();
    for _ in 0..NODES {
        let mut client = Client::new(endpoint.connect().await.unwrap());
        client.get_registry_credentials(request(&host(0))).await.unwrap();
        clients.push(client);
    }
    per("connection", NODES, (before, state()));
    let before = state();
    let mut watches = Vec::new();
    for client in &mut clients {
        let message = pb::WatchRegistryCredentialsRequest { requests: requests(KEYS, 0), ..Default::default() };
        let mut events = client.watch_registry_credentials(message).await.unwrap().into_inner();
        for _ in 0..=KEYS {
            events.message().await.unwrap().unwrap();
        }
        watches.push(events);
    }
    per("watched registry", NODES * KEYS, (before, state()));
    drop(watches);
    let before = state();
    for client in &mut clients {
        for key in 0..KEYS {
            client.get_registry_credentials(request(&host(key))).await.unwrap();
        }
    }
    per("hit", NODES * KEYS, (before, state()));
    scene.end("fleet", "measured").await;
}
