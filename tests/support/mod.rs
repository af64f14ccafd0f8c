//! Support for the integration tests: a manual clock, a scripted source, and a broker on free ports.

#![allow(
    dead_code,
    clippy::duration_suboptimal_units,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::collections::HashMap;
use std::future::Future;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use ecr_broker::address::ListenAddress;
use ecr_broker::app::auth_material::AuthMaterial;
use ecr_broker::app::{App, Parts, Upstream};
use ecr_broker::audit::{self, Output};
use ecr_broker::broker::{self, Broker, CredentialRequest, RequestContext};
use ecr_broker::cache::{self, CredentialCache, Lookup};
use ecr_broker::caller::Caller;
use ecr_broker::clock::Clock;
use ecr_broker::config::{AwsApi, Config, Sources};
use ecr_broker::credential::{Credential, CredentialId, CredentialKey, ProfileName, Revision, USERNAME};
use ecr_broker::environment;
use ecr_broker::error::{BrokerError, FailureClass, SourceName, UpstreamError};
use ecr_broker::hops::{Hops, InstanceId};
use ecr_broker::limits::{self, LimitHits, Limits};
use ecr_broker::metrics::{self, Exposition};
use ecr_broker::moment::Moment;
use ecr_broker::policy::Policy;
use ecr_broker::registry::{Aliases, Region, Registry};
use ecr_broker::rejections::RejectionRecorder;
use ecr_broker::request_id::RequestId;
use ecr_broker::source::aws::admission;
use ecr_broker::source::span::FetchSpan;
use ecr_broker::source::{
    CredentialSource, FetchError, FetchProgress, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus,
};
use futures_util::FutureExt as _;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub const HOUR: Duration = Duration::from_hours(1);
pub const MINUTE: Duration = Duration::from_mins(1);
/// The broker's variable that turns its fast path off.
pub const FAST_PATH: &str = "ECR_BROKER_SERVER_FAST_PATH";
/// Fetch budget of the scripted source.
pub const FETCH_BUDGET: Duration = Duration::from_secs(9);
/// The secret of the ECR API of a test's broker.
pub const AWS_API_SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyz_-ABC";
pub const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<Moment>);

impl ManualClock {
    pub fn new() -> Arc<Self> {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Arc::new(Self(Mutex::new(Moment { wall, steady: Duration::ZERO })))
    }

    pub fn advance(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.after(time);
    }

    /// Steps the wall clock only, as an operator or NTP may do.
    pub fn step_wall_forward(&self, time: Duration) {
        self.0.lock().unwrap().wall += time;
    }

    pub fn step_wall_back(&self, time: Duration) {
        self.0.lock().unwrap().wall -= time;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }
}

/// The result of a scripted fetch.
#[derive(Debug, Clone)]
pub enum Step {
    /// Gives a new token of this lifetime.
    Token(Duration),
    /// Gives the same token each time.
    SameToken(Duration),
    /// Fails.
    Fail(UpstreamError),
    /// Gives a new token that AWS issued a while ago, as another broker's cache does.
    AgedToken {
        age: Duration,
        remaining: Duration,
    },
    /// Refuses the request alone, as a parent broker does.
    Refuse(BrokerError),
    /// Fails without a call.
    QueueFull(Duration),
    Panic,
}

/// A source that follows a script and counts its calls.
#[derive(Debug)]
pub struct ScriptedSource {
    clock: Arc<ManualClock>,
    step: Mutex<Step>,
    calls: watch::Sender<u64>,
    by_key: Mutex<HashMap<CredentialKey, u64>>,
    in_flight: Mutex<HashMap<CredentialKey, u64>>,
    most_in_flight: AtomicU64,
    gate: watch::Sender<bool>,
    delay: Mutex<Duration>,
    status: Mutex<SourceStatus>,
    fetch_budget: Mutex<Duration>,
    last_request: Mutex<Option<FetchRequest>>,
}

impl ScriptedSource {
    /// Gives tokens of twelve hours at once.
    pub fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(clock),
            step: Mutex::new(Step::Token(12 * HOUR)),
            calls: watch::Sender::new(0),
            by_key: Mutex::default(),
            in_flight: Mutex::default(),
            most_in_flight: AtomicU64::new(0),
            gate: watch::Sender::new(true),
            delay: Mutex::default(),
            status: Mutex::new(SourceStatus::Ready),
            fetch_budget: Mutex::new(FETCH_BUDGET),
            last_request: Mutex::default(),
        })
    }

    pub fn then(&self, step: Step) {
        *self.step.lock().unwrap() = step;
    }

    pub fn fail(&self, class: FailureClass) {
        self.then(Step::Fail(UpstreamError::aws(class)));
    }

    /// Fetches wait until [`ScriptedSource::open`].
    pub fn shut(&self) {
        self.gate.send_replace(false);
    }

    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    pub fn delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    /// Sets the fetch budget of caches that are built later.
    pub fn set_fetch_budget(&self, budget: Duration) {
        *self.fetch_budget.lock().unwrap() = budget;
    }

    pub fn set_status(&self, status: SourceStatus) {
        *self.status.lock().unwrap() = status;
    }

    /// The request of the last fetch.
    pub fn last_request(&self) -> FetchRequest {
        self.last_request.lock().unwrap().clone().unwrap()
    }

    pub fn calls(&self) -> u64 {
        *self.calls.borrow()
    }

    pub fn calls_by_key(&self) -> HashMap<CredentialKey, u64> {
        self.by_key.lock().unwrap().clone()
    }

    /// The most calls that one key ever had in flight together.
    pub fn most_in_flight(&self) -> u64 {
        self.most_in_flight.load(Ordering::SeqCst)
    }

    /// Waits until this many calls have started.
    pub async fn until_calls(&self, calls: u64) {
        self.calls.subscribe().wait_for(|made| *made >= calls).await.unwrap();
    }

    async fn answer(&self, request: &FetchRequest) -> Result<Credential, FetchError> {
        let key = &request.key;
        // Without the replaced credential: a source must not keep it in memory.
        *self.last_request.lock().unwrap() = Some(FetchRequest { replaces: None, ..request.clone() });
        let _flying = InFlight::begin(self, key);
        let step = self.step.lock().unwrap().clone();
        *self.by_key.lock().unwrap().entry(key.clone()).or_default() += 1;
        let mut number = 0;
        self.calls.send_modify(|calls| {
            *calls += 1;
            number = *calls;
        });
        self.gate.subscribe().wait_for(|open| *open).await.unwrap();
        let delay = *self.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match step {
            Step::Token(lifetime) => Ok(self.credential(number, lifetime)),
            Step::SameToken(lifetime) => Ok(self.credential(0, lifetime)),
            Step::AgedToken { age, remaining } => Ok(self.aged_credential(number, age, remaining)),
            Step::Fail(failure) => Err(failure.into()),
            Step::Refuse(error) => Err(FetchError::OfRequest(Box::new(error))),
            Step::QueueFull(retry_after) => Err(FetchError::QueueFull { retry_after }),
            Step::Panic => panic!("as scripted"),
        }
    }

    fn aged_credential(&self, number: u64, age: Duration, remaining: Duration) -> Credential {
        let now = self.clock.now();
        let password = format!("password-{number}");
        Credential::new(SourceName::Aws, USERNAME, &password, now.wall - age, now.wall + remaining, now).unwrap()
    }

    fn credential(&self, number: u64, lifetime: Duration) -> Credential {
        let now = self.clock.now();
        let token = BASE64.encode(format!("AWS:password-{number}").as_bytes());
        let account = "999999999999".parse().ok();
        Credential::from_aws_token(&token, now.wall + lifetime, now).unwrap().for_account(account)
    }
}

impl SourceIdentity for ScriptedSource {
    fn name(&self) -> SourceName {
        SourceName::Aws
    }

    fn status(&self) -> SourceStatus {
        *self.status.lock().unwrap()
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

impl CredentialSource for ScriptedSource {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(self.answer(request))
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        *self.fetch_budget.lock().unwrap()
    }
}

struct InFlight<'a>(&'a ScriptedSource, CredentialKey);

impl<'a> InFlight<'a> {
    fn begin(source: &'a ScriptedSource, key: &CredentialKey) -> Self {
        let mut flights = source.in_flight.lock().unwrap();
        let count = flights.entry(key.clone()).or_default();
        *count += 1;
        source.most_in_flight.fetch_max(*count, Ordering::SeqCst);
        Self(source, key.clone())
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        *self.0.in_flight.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

/// The defaults of the configuration.
pub fn cache_settings() -> cache::Settings {
    cache::Settings {
        refresh_after: HOUR,
        safety_margin: 5 * MINUTE,
        capacity: 10_000,
        max_waiters: 16_384,
        max_exposed_keys: 0,
    }
}

/// A cache without metrics.
pub fn cache(settings: cache::Settings, source: Arc<dyn CredentialSource>, clock: Arc<dyn Clock>) -> CredentialCache {
    let registry = &mut metrics::Registry::default();
    CredentialCache::new(settings, source, clock, &LimitHits::new(registry), registry)
}

/// A broker without metrics and without an audit log.
pub fn broker(cache: CredentialCache, settings: broker::Settings) -> Arc<Broker> {
    Arc::new(Broker::new(cache, settings, rejections(), &mut metrics::Registry::default()))
}

/// The defaults of the configuration.
pub fn admission_settings() -> admission::Settings {
    admission::Settings { max_in_flight_per_region: 64, max_in_flight: 256, max_queued_per_requester: 2_048 }
}

pub fn limits_settings() -> limits::Settings {
    let count = |number| NonZeroU32::new(number).unwrap();
    limits::Settings {
        requests_per_second: count(1_000),
        local_requests_per_second: count(2_000),
        in_flight: 12_288,
        watch_memory: 128 << 20,
        watch_memory_per_caller: 64 << 20,
        failures_per_second: count(100),
        unproved_connections: 1_024,
        callers: Vec::new(),
    }
}

/// A recorder for a broker without an audit log.
pub fn rejections() -> RejectionRecorder {
    RejectionRecorder::new(NonZeroU32::new(10).unwrap(), None, ManualClock::new(), &mut metrics::Registry::default())
}

pub fn broker_settings(policy: Policy, region: Option<Region>) -> broker::Settings {
    broker::Settings {
        policy,
        profiles: Vec::new().into(),
        parents: Vec::new(),
        region,
        regions: Vec::new(),
        aliases: Aliases::default(),
        keep_warm: Vec::new(),
        issuers: None,
        config: String::new(),
        max_min_validity: 10 * HOUR,
        loopback_operates: false,
        instance: InstanceId::random(),
    }
}

/// An audit log without a reserve: the tests' disk may be small.
pub fn audit_settings(output: &Output) -> audit::Settings {
    audit::Settings { output: output.clone(), reserve: 0, on_failure: audit::OnFailure::default() }
}

/// Replaces an audit log by a directory, so that no record can be written.
pub fn put_directory_at(file: &std::path::Path) {
    std::fs::remove_file(file).unwrap();
    std::fs::create_dir(file).unwrap();
}

pub fn key(host: &str) -> CredentialKey {
    CredentialKey {
        registry: host.parse().unwrap(),
        profile: ProfileName::default_profile(),
        revision: Revision::default(),
        caller: None,
        lifetime: None,
    }
}

/// Returns a different host for each number.
pub fn host(number: usize) -> String {
    format!("{number:012}.dkr.ecr.eu-central-1.amazonaws.com")
}

pub fn lookup(host: &str) -> Lookup {
    Lookup {
        key: key(host),
        min_validity: Duration::ZERO,
        rejected: None,
        request_id: RequestId::random(),
        hops: Hops::default(),
        caller: None,
        token: None,
        answer_by: None,
    }
}

pub fn lookup_lasting(host: &str, min_validity: Duration) -> Lookup {
    Lookup { min_validity, ..lookup(host) }
}

pub fn lookup_rejecting(host: &str, rejected: CredentialId) -> Lookup {
    Lookup { rejected: Some(rejected), ..lookup(host) }
}

/// A fetch of `key` that nothing limits.
pub fn fetch_request(key: CredentialKey) -> FetchRequest {
    FetchRequest {
        key,
        min_validity: Duration::ZERO,
        rejected: None,
        replaces: None,
        new_session: false,
        requester: None,
        proof: None,
        request_id: RequestId::random(),
        hops: Hops::default(),
        parent_span: None,
        deadline: tokio::time::Instant::now() + HOUR,
        progress: FetchProgress::default(),
        span: FetchSpan::default(),
    }
}

/// The failure of a source that was called.
pub fn upstream(error: FetchError) -> UpstreamError {
    match error {
        FetchError::Upstream(error) => error,
        error => panic!("not an upstream failure: {error:?}"),
    }
}

/// Returns the request of a loopback caller.
pub fn credential_request(host: &str, min_validity: Duration) -> CredentialRequest {
    let context = RequestContext {
        caller: Caller::Loopback,
        token: None,
        id: RequestId::random(),
        trace_id: None,
        hops: Hops::default(),
    };
    let registry: Registry = host.parse().unwrap();
    CredentialRequest { min_validity, ..CredentialRequest::new(context, registry.into()) }
}

/// A cache over a scripted source, and the clock of both.
pub struct TestCache {
    pub settings: cache::Settings,
    pub cache: CredentialCache,
    pub source: Arc<ScriptedSource>,
    pub clock: Arc<ManualClock>,
}

impl TestCache {
    pub fn new() -> Self {
        Self::with(cache_settings())
    }

    pub fn with(settings: cache::Settings) -> Self {
        let clock = ManualClock::new();
        let source = ScriptedSource::new(&clock);
        let cache = cache(settings.clone(), source.clone(), clock.clone());
        Self { settings, cache, source, clock }
    }
}

/// A broker that serves on a free port of loopback, on a Unix socket, and the ECR API on another port.
pub struct TestBroker {
    pub source: Arc<ScriptedSource>,
    pub clock: Arc<ManualClock>,
    pub cache: CredentialCache,
    pub broker: Arc<Broker>,
    pub limits: Limits,
    pub rejections: RejectionRecorder,
    pub exposition: Exposition,
    pub tcp: std::net::SocketAddr,
    pub socket: std::path::PathBuf,
    /// The ECR API's address.
    pub aws_api: std::net::SocketAddr,
    /// The URL of the ops listener, if it is configured.
    pub ops: Option<String>,
    /// The URL of the JSON API, if it is configured.
    pub json: Option<String>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    directory: tempfile::TempDir,
}

/// The configuration and the authentication material that a test may change before its broker is built.
pub struct Setup {
    pub config: Config,
    pub auth: AuthMaterial,
}

impl Setup {
    /// Returns the default configuration with the tests' limits, on loopback and on a socket in `directory`.
    ///
    /// [`FAST_PATH`] counts here as it does for the program: with `false` the whole run of the tests is without the fast path.
    pub fn new(cache: &cache::Settings, directory: &std::path::Path) -> Self {
        let secret_file = directory.join("aws-api-secret");
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&secret_file).unwrap();
        std::fs::write(&secret_file, AWS_API_SECRET).unwrap();
        let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config::load(&Sources { environment: fast_path(), ..Sources::default() }).unwrap();
        config.server.listen = vec![ListenAddress::Tcp(any_port), ListenAddress::Unix(directory.join("broker.sock"))];
        config.server.loopback = true;
        config.server.aws_api = Some(AwsApi { listen: any_port, secret_file });
        config.aws.region = Some("eu-central-1".to_owned());
        config.cache = cache.clone();
        config.limits = limits_settings();
        Self { config, auth: AuthMaterial::default() }
    }

    /// Builds the broker. With a scripted source no step of it waits.
    pub fn build(self, source: Arc<ScriptedSource>, clock: Arc<ManualClock>) -> anyhow::Result<App> {
        let region = self.config.aws.region.as_ref().map(|region| region.parse().unwrap());
        let upstream =
            Some(Upstream { source, region, endpoints: Vec::new(), parent_addresses: Vec::new(), watches: Vec::new() });
        let parts = Parts { upstream, auth: self.auth, ..Parts::new(clock) };
        tokio::task::unconstrained(App::build(self.config, parts)).now_or_never().unwrap()
    }
}

impl TestBroker {
    pub fn start() -> Self {
        Self::start_with(|_| ())
    }

    pub fn start_with(change: impl FnOnce(&mut Setup)) -> Self {
        Self::start_as(Policy::Open, None, change)
    }

    /// Starts with a policy and an audit log.
    pub fn start_as(policy: Policy, audit: Option<&Output>, change: impl FnOnce(&mut Setup)) -> Self {
        Self::start_on(TestCache::new(), policy, audit, change)
    }

    /// Starts with the settings, the source and the clock of a cache.
    pub fn start_on(cache: TestCache, policy: Policy, audit: Option<&Output>, change: impl FnOnce(&mut Setup)) -> Self {
        let TestCache { settings, source, clock, .. } = cache;
        let directory = tempfile::tempdir().unwrap();
        let mut setup = Setup::new(&settings, directory.path());
        (setup.config.policy, setup.config.audit) = (policy, audit.map(audit_settings));
        change(&mut setup);
        let app = setup.build(source.clone(), clock.clone()).unwrap();
        let (cache, broker, limits, rejections) = (app.cache(), app.broker(), app.limits(), app.rejections());
        let (urls, exposition) = (app.urls(), app.exposition());
        let tcp = address(&urls, &["grpc://", "grpcs://"]);
        let aws_api = address(&urls, &["aws+http://"]);
        let ops = urls.iter().find(|url| url.starts_with("ops+")).cloned();
        let json = urls.iter().find_map(|url| url.strip_prefix("json+")).map(str::to_owned);
        let socket = directory.path().join("broker.sock");
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async { _ = stopped.await }));
        Self {
            source,
            clock,
            cache,
            broker,
            limits,
            rejections,
            exposition,
            tcp,
            socket,
            aws_api,
            ops,
            json,
            stop: Some(stop),
            running,
            directory,
        }
    }

    /// Starts the shutdown; the returned future completes with it.
    pub fn stop(mut self) -> impl Future<Output = ()> {
        _ = self.stop.take().unwrap().send(());
        async move {
            self.running.await.unwrap();
            drop(self.directory);
        }
    }

    #[cfg(feature = "client")]
    pub async fn channel(&self) -> tonic::transport::Channel {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.tcp)).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Connects to the Unix socket, where the broker identifies the client by its user.
    #[cfg(feature = "client")]
    pub async fn unix_client(&self) -> Client {
        let uri = format!("unix://{}", self.socket.display());
        Client::new(tonic::transport::Endpoint::from_shared(uri).unwrap().connect().await.unwrap())
    }

    #[cfg(feature = "client")]
    pub async fn client(&self) -> Client {
        Client::new(self.channel().await)
    }
}

/// Returns what the environment of the tests says about the fast path.
fn fast_path() -> Vec<(String, String)> {
    environment::variables().into_iter().filter(|(name, _)| name == FAST_PATH).collect()
}

/// The address of the first endpoint with one of these schemes.
fn address(urls: &[String], schemes: &[&str]) -> std::net::SocketAddr {
    let url = urls.iter().find_map(|url| schemes.iter().find_map(|scheme| url.strip_prefix(scheme)));
    url.unwrap().parse().unwrap()
}

#[cfg(feature = "client")]
pub type Client =
    ecr_broker::pb::registry_credentials_service_client::RegistryCredentialsServiceClient<tonic::transport::Channel>;

#[cfg(feature = "client")]
pub fn request(registry: &str) -> ecr_broker::pb::GetRegistryCredentialsRequest {
    use ecr_broker::pb::get_registry_credentials_request::Target;
    let target = Some(Target::Registry(registry.to_owned()));
    ecr_broker::pb::GetRegistryCredentialsRequest { target, ..Default::default() }
}
