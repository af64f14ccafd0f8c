//! Restarts that keep the cache (P15): the store on a clock that only the test moves, then the real program and a service manager of
//! the test. `tests/real_programs/systemd.rs` has a real one.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod certificates;
mod fake_aws;
mod keeper;
mod program;
mod scraped;
mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use ecr_broker::cache::{self, CacheStatus, CredentialCache};
use ecr_broker::clock::Clock;
use ecr_broker::credential::CredentialKey;
use ecr_broker::descriptor_store::{COPY_NAME, DescriptorStore, Fingerprint, KEY_NAME, Parts, Settings};
use ecr_broker::error::FailureClass;
use ecr_broker::metrics::{Exposition, Format, Registry};
use ecr_broker::profile::{Access, Attribution, ExtraPermissions, Profile, SessionTags};
use ecr_broker::service_manager::ServiceManager;
use ecr_broker::source::aws;
use fake_aws::{CANARY, FakeAws};
use keeper::Keeper;
use program::{PROGRAM, Server, copy_to, program_at, run, signal, skipped};
use scraped::Scraped;
use serde_json::Value;
use support::*;

const NOT_ROOT: &str = "the broker uses only root's service manager";
const FOUND: &str = "ecr_broker_descriptor_store_credentials_total";
const HOSTS: [&str; 3] = [HOST, "public.ecr.aws", "000000000001.dkr.ecr.eu-west-1.amazonaws.com"];

fn aws_settings() -> aws::Settings {
    ecr_broker::config::Config::load(&ecr_broker::config::Sources::default()).unwrap().aws
}

fn profile(access: Access) -> Profile {
    let role_chain = vec!["arn:aws:iam::123456789012:role/ci".parse().unwrap()];
    let attribution = Attribution::Broker;
    Profile {
        name: "ci".into(),
        role_chain,
        access,
        repositories: Vec::new(),
        extra: ExtraPermissions::default(),
        session_tags: SessionTags::default(),
        attribution,
        source_identity: false,
        verify: None,
    }
}

fn manager(socket: &Path) -> ServiceManager {
    ServiceManager::at(socket.as_os_str(), None).unwrap()
}

/// A broker's cache and store in this process, on one clock with those before it.
struct Process {
    cache: CredentialCache,
    source: Arc<ScriptedSource>,
    store: Option<DescriptorStore>,
    metrics: Exposition,
}

/// What differs between processes.
struct Setup {
    cache: cache::Settings,
    memory: u64,
    aws: aws::Settings,
    profiles: Vec<Profile>,
}

impl Setup {
    fn new() -> Self {
        Self { cache: cache_settings(), memory: 1 << 20, aws: aws_settings(), profiles: vec![profile(Access::Pull)] }
    }

    async fn start(self, keeper: &mut Keeper, clock: &Arc<ManualClock>) -> Process {
        let source = ScriptedSource::new(clock);
        let cache = cache(self.cache, source.clone(), clock.clone());
        let settings =
            Settings { memory: self.memory, aws: Fingerprint::of_aws(&self.aws, []), profiles: self.profiles.into() };
        let parts = Parts { inherited: keeper.inherited(), manager: manager(&keeper.socket()), settings };
        let mut registry = Registry::default();
        let clock: Arc<dyn Clock> = clock.clone();
        let store = DescriptorStore::start(Some(parts), &cache, &clock, &mut registry).await;
        keeper.handle();
        Process { cache, source, store, metrics: Exposition::new(registry) }
    }
}

impl Process {
    /// Caches the credentials of these hosts, and writes the store.
    async fn fill(&self, hosts: impl IntoIterator<Item = String>) {
        for host in hosts {
            self.cache.get(lookup(&host)).await.unwrap();
        }
        self.write().await;
    }

    async fn write(&self) {
        self.store.as_ref().unwrap().write(&self.cache).await;
    }

    /// Returns the counts of the credentials that the store had at the start, by what became of them.
    fn found(&self) -> BTreeMap<String, u64> {
        let scraped = Scraped::parse(&self.metrics.encode(Format::Prometheus));
        let found = scraped.samples.into_iter().filter(|sample| sample.name == FOUND && sample.value > 0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
        found.map(|sample| (sample.labels["outcome"].clone(), sample.value as u64)).collect()
    }
}

fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(outcome, count)| (outcome.to_owned(), count)).collect()
}

#[tokio::test]
async fn p15_next_process_has_the_credentials_and_their_times() {
    let Some(mut keeper) = Keeper::start() else { return skipped(NOT_ROOT) };
    let clock = ManualClock::new();
    let first = Setup::new().start(&mut keeper, &clock).await;
    assert_eq!(keeper.handle(), [COPY_NAME, KEY_NAME]);
    first.fill((0..3).map(host)).await;
    let before = first.cache.get(lookup(&host(0))).await.unwrap();
    clock.advance(10 * MINUTE);
    drop(first);

    let second = Setup::new().start(&mut keeper, &clock).await;
    assert_eq!(second.found(), counts([("restored", 3)]));
    let after = second.cache.get(lookup(&host(0))).await.unwrap();
    assert_eq!((after.credential.id(), after.status), (before.credential.id(), CacheStatus::Hit));
    assert_eq!(after.credential.expires(), before.credential.expires());
    assert_eq!(after.remaining + 10 * MINUTE, before.remaining);
    assert_eq!(after.refresh_after + 10 * MINUTE, before.refresh_after, "the refresh keeps its time");
    // An outage of AWS costs nothing until the credential ends.
    second.source.fail(FailureClass::Unavailable);
    clock.advance(11 * HOUR);
    let late = second.cache.get(lookup(&host(0))).await.unwrap();
    assert_eq!(late.credential.id(), before.credential.id());
    second.source.until_calls(1).await;
    while second.cache.get(lookup(&host(0))).await.unwrap().status != CacheStatus::Stale {
        tokio::task::yield_now().await;
    }
    second.write().await;
    let third = Setup::new().start(&mut keeper, &clock).await;
    third.source.shut();
    assert_eq!(third.cache.get(lookup(&host(0))).await.unwrap().status, CacheStatus::Stale);
    assert_eq!(keeper.messages.len(), 2, "the descriptors are sent once: {:?}", keeper.messages);
}

#[tokio::test]
async fn p15_expired_credentials_are_dropped() {
    let Some(mut keeper) = Keeper::start() else { return skipped(NOT_ROOT) };
    let clock = ManualClock::new();
    Setup::new().start(&mut keeper, &clock).await.fill([host(0)]).await;
    // The safety margin is part of the validity (P3).
    clock.advance(11 * HOUR + 56 * MINUTE);
    let second = Setup::new().start(&mut keeper, &clock).await;
    assert_eq!((second.found(), second.cache.cached_count()), (counts([("expired", 1)]), 0));
    clock.advance(HOUR);
    assert_eq!(Setup::new().start(&mut keeper, &clock).await.found(), counts([("expired", 1)]));
}

#[tokio::test]
async fn p14_clock_stepped_between_processes_revives_nothing() {
    let Some(mut keeper) = Keeper::start() else { return skipped(NOT_ROOT) };
    let clock = ManualClock::new();
    clock.advance(HOUR);
    Setup::new().start(&mut keeper, &clock).await.fill([host(0)]).await;
    clock.advance(12 * HOUR);
    clock.step_wall_back(6 * HOUR);
    assert_eq!(Setup::new().start(&mut keeper, &clock).await.found(), counts([("expired", 1)]));

    let clock = ManualClock::new();
    let mut keeper = Keeper::start().unwrap();
    clock.advance(HOUR);
    Setup::new().start(&mut keeper, &clock).await.fill([host(0)]).await;
    clock.step_wall_forward(6 * HOUR);
    let second = Setup::new().start(&mut keeper, &clock).await;
    assert_eq!(second.cache.get(lookup(&host(0))).await.unwrap().remaining, 6 * HOUR);
    // Another boot: its monotonic clock begins again.
    let booted = ManualClock::new();
    booted.step_wall_forward(2 * HOUR);
    assert_eq!(Setup::new().start(&mut keeper, &booted).await.found(), counts([("clock", 1)]));
}

#[tokio::test]
async fn p15_changed_profile_or_configuration_drops_its_credentials() {
    let Some(mut keeper) = Keeper::start() else { return skipped(NOT_ROOT) };
    let clock = ManualClock::new();
    let first = Setup::new().start(&mut keeper, &clock).await;
    let of_profile = CredentialKey { profile: "ci".into(), ..key(HOST) };
    first.cache.get(ecr_broker::cache::Lookup { key: of_profile, ..lookup(HOST) }).await.unwrap();
    first.fill([host(0)]).await;

    let changed = Setup { profiles: vec![profile(Access::Push)], ..Setup::new() }.start(&mut keeper, &clock).await;
    assert_eq!(changed.found(), counts([("restored", 1), ("profile", 1)]));
    let gone = Setup { profiles: Vec::new(), ..Setup::new() }.start(&mut keeper, &clock).await;
    assert_eq!(gone.found(), counts([("restored", 1), ("profile", 1)]));
    let mut aws = aws_settings();
    aws.ecr_endpoints.insert("eu-west-1".to_owned(), "https://ecr.example".to_owned());
    let moved = Setup { aws, ..Setup::new() }.start(&mut keeper, &clock).await;
    assert_eq!((moved.found(), moved.cache.cached_count()), (counts([("configuration", 2)]), 0));
    let same = Setup::new().start(&mut keeper, &clock).await;
    assert_eq!(same.found(), counts([("restored", 2)]));
    // What was dropped is not in the next copy.
    moved.write().await;
    assert_eq!(Setup::new().start(&mut keeper, &clock).await.found(), counts([]));
}

#[tokio::test]
async fn p15_denied_credential_leaves_the_store() {
    let Some(mut keeper) = Keeper::start() else { return skipped(NOT_ROOT) };
    let clock = ManualClock::new();
    let first = Setup::new().start(&mut keeper, &clock).await;
    first.fill([host(0), host(1)]).await;
    first.source.fail(FailureClass::Denied);
    clock.advance(2 * HOUR);
    first.cache.get(lookup(&host(0))).await.unwrap();
    while first.cache.has(&key(&host(0))).await {
        tokio::task::yield_now().await;
    }
    first.write().await;
    let second = Setup::new().start(&mut keeper, &clock).await;
    assert_eq!(second.found(), counts([("restored", 1)]));
    assert!(second.cache.has(&key(&host(1))).await);
}

#[tokio::test]
async fn p8_store_and_cache_keep_the_most_used_credentials() {
    let Some(mut keeper) = Keeper::start() else { return skipped(NOT_ROOT) };
    let clock = ManualClock::new();
    let small = || Setup { memory: 4_096, ..Setup::new() };
    let first = small().start(&mut keeper, &clock).await;
    for _ in 0..3 {
        first.fill((40..45).map(host)).await;
    }
    first.fill((0..80).map(host)).await;
    let second = small().start(&mut keeper, &clock).await;
    let restored = second.found()["restored"];
    assert!((5..40).contains(&restored), "{restored}");
    for number in 40..45 {
        assert!(second.cache.has(&key(&host(number))).await, "{number}");
    }
    let smaller = Setup { cache: cache::Settings { capacity: 5, ..cache_settings() }, ..small() };
    let third = smaller.start(&mut keeper, &clock).await;
    third.cache.sweep().await;
    for number in 40..45 {
        assert!(third.cache.has(&key(&host(number))).await, "{number}");
    }
}

#[tokio::test]
async fn p15_unreadable_store_is_replaced() {
    let Some(mut keeper) = Keeper::start() else { return skipped(NOT_ROOT) };
    let clock = ManualClock::new();
    for damage in [
        |_: File, key: File| key.write_all_at(b"!", 20).unwrap(),
        |_: File, key: File| key.set_len(0).unwrap(),
        |copy: File, _: File| copy.set_len(0).unwrap(),
        // The version of the format, in both slots.
        |copy: File, _: File| [8, (1 << 32) + 8].iter().for_each(|at| copy.write_all_at(&[9], *at).unwrap()),
    ] {
        let first = Setup::new().start(&mut keeper, &clock).await;
        first.fill([host(0)]).await;
        let key = keeper.contents(KEY_NAME);
        let kept = keeper.inherited();
        damage(kept.copy.unwrap(), kept.key.unwrap());
        let second = Setup::new().start(&mut keeper, &clock).await;
        assert_eq!((second.found(), second.cache.cached_count()), (counts([]), 0));
        assert!(keeper.handle().len() == 2 && keeper.contents(KEY_NAME) != key, "a new store with a new key");
        second.fill([host(0)]).await;
        assert_eq!(Setup::new().start(&mut keeper, &clock).await.found(), counts([("restored", 1)]));
    }
}

#[tokio::test]
async fn store_without_memory_is_forgotten() {
    let Some(mut keeper) = Keeper::start() else { return skipped(NOT_ROOT) };
    let clock = ManualClock::new();
    Setup::new().start(&mut keeper, &clock).await.fill([host(0)]).await;
    let off = Setup { memory: 0, ..Setup::new() }.start(&mut keeper, &clock).await;
    assert!(off.store.is_none() && off.cache.cached_count() == 0 && keeper.handle().is_empty());
}

#[tokio::test]
async fn service_manager_of_another_user_is_not_used() {
    let Some(mut keeper) = Keeper::start() else { return skipped(NOT_ROOT) };
    let socket = keeper.socket();
    assert!(manager(&socket).is_of_root() && !manager(Path::new("@abstract")).is_of_root());
    std::os::unix::fs::chown(&socket, Some(65_534), None).unwrap();
    let clock = ManualClock::new();
    let process = Setup::new().start(&mut keeper, &clock).await;
    assert!(process.store.is_none() && keeper.handle().is_empty());
}

/// A cached credential starts one write, and a hit none.
#[tokio::test(start_paused = true)]
async fn store_is_written_once_a_second_at_most() {
    let Some(mut keeper) = Keeper::start() else { return skipped(NOT_ROOT) };
    let clock = ManualClock::new();
    let process = Setup::new().start(&mut keeper, &clock).await;
    let writes = || {
        let scraped = Scraped::parse(&process.metrics.encode(Format::Prometheus));
        scraped.value("ecr_broker_descriptor_store_writes_total", &[("result", "success")])
    };
    let follower = tokio::spawn(process.store.clone().unwrap().follow(process.cache.clone()));
    let until = |count: f64| async move {
        while writes() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    process.cache.get(lookup(&host(0))).await.unwrap();
    until(1.0).await;
    for number in 1..100 {
        process.cache.get(lookup(&host(number))).await.unwrap();
    }
    let start = tokio::time::Instant::now();
    until(2.0).await;
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    for _ in 0..100 {
        process.cache.get(lookup(&host(0))).await.unwrap();
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!((writes() - 2.0).abs() < 0.1, "{}", writes());
    assert_eq!(Setup::new().start(&mut keeper, &clock).await.found(), counts([("restored", 100)]));
    follower.abort();
}

/// The real program with an AWS that remembers its calls.
struct Service {
    aws: FakeAws,
    directory: tempfile::TempDir,
    keeper: Keeper,
}

impl Service {
    async fn new() -> Option<Self> {
        let keeper = Keeper::start()?;
        let directory = tempfile::tempdir().unwrap();
        let aws = FakeAws::start(directory.path()).await;
        Some(Self { aws, directory, keeper })
    }

    fn ops(&self) -> PathBuf {
        self.directory.path().join("ops.sock")
    }

    fn command(&self, program_file: &Path) -> Command {
        let port = self.aws.address.port();
        let mut environment = self.aws.environment(port);
        environment.push(("ECR_BROKER_SERVER_OPS_LISTEN", format!("unix:{}", self.ops().display())));
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut command = program_at(program_file, &environment);
        let socket = format!("unix:{}", self.directory.path().join("broker.sock").display());
        command.args(["serve", "--listen", &socket]);
        command
    }

    fn start(&mut self, program_file: &Path) -> Server {
        let server = Server::spawn_logging(self.keeper.service(&self.command(program_file)));
        assert_eq!(self.keeper.handle(), [COPY_NAME, KEY_NAME]);
        server
    }

    /// Waits until the store has this many credentials.
    fn until_kept(&self, count: f64) {
        while Scraped::from_socket(&self.ops()).value("ecr_broker_descriptor_store_kept", &[]) < count {
            std::thread::yield_now();
        }
    }
}

/// Returns the passwords of the registries, and whether each was cached.
fn passwords(broker: &Server) -> Vec<(String, String)> {
    let arguments = [&["get", "-o", "json", "--address", &broker.address], &HOSTS[..]].concat();
    let answers = run(&arguments, &[]).out();
    let answers = answers.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |answer: &Value, field: &str| answer[field].as_str().unwrap().to_owned();
    answers.map(|answer| (text(&answer, "password"), text(&answer, "cache_status"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_restart_kill_and_upgrade_keep_credentials_without_a_call() {
    let Some(mut service) = Service::new().await else { return skipped(NOT_ROOT) };
    let upgraded = service.directory.path().join("upgraded");
    copy_to(&upgraded);

    let first = service.start(Path::new(PROGRAM));
    let before = passwords(&first);
    let calls = service.aws.issued_count();
    first.stop();
    let second = service.start(Path::new(PROGRAM));
    second.until_logged("credentials restored from the descriptor store");
    let after = passwords(&second);
    assert!(after.iter().zip(&before).all(|(after, before)| after.0 == before.0 && after.1 == "HIT"), "{after:?}");
    service.until_kept(3.0);
    signal(second.pid(), "KILL");
    drop(second);
    let third = service.start(&upgraded);
    assert!(passwords(&third).iter().zip(&before).all(|(after, before)| after.0 == before.0));
    assert_eq!((service.aws.issued_count(), calls), (calls, 3), "AWS was not called again");
    let logs = third.stop();
    assert!(logs.contains("\"restored\":3"), "{logs}");
    assert_eq!(service.keeper.messages.len(), 2, "{:?}", service.keeper.messages);

    // P10: neither file shows a secret, and the log shows neither the key nor a password.
    let (copy, key) = (service.keeper.contents(COPY_NAME), service.keeper.contents(KEY_NAME));
    assert!(copy.len() > 3 * 1_200 && key.len() >= 40);
    let has = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|part| part == secret);
    for (password, _) in &before {
        assert!(password.contains(CANARY));
        let token = BASE64.encode(format!("AWS:{password}").as_bytes());
        for secret in [CANARY.as_bytes(), &password.as_bytes()[100..140], &token.as_bytes()[200..240]] {
            assert!(!has(&copy, secret) && !has(&key, secret));
        }
    }
    assert!(!has(&copy, &key[8..40]) && !has(&copy, HOST.as_bytes()) && !has(&copy, b"dkr.ecr"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_start_with_another_endpoint_drops_the_credentials() {
    let Some(mut service) = Service::new().await else { return skipped(NOT_ROOT) };
    let first = service.start(Path::new(PROGRAM));
    passwords(&first);
    first.stop();
    let mut command = service.command(Path::new(PROGRAM));
    command.env("ECR_BROKER_AWS_ECR_ENDPOINT", "https://localhost:1");
    let second = Server::spawn_logging(service.keeper.service(&command));
    second.until_logged("credentials restored from the descriptor store");
    let logs = second.stop();
    assert!(logs.contains("\"restored\":0") && logs.contains("\"configuration_changed\":3"), "{logs}");
}

/// A working identity of the files is replaced by a restart only, so that the restart must not return what the old one minted.
#[tokio::test(flavor = "multi_thread")]
async fn p15_start_with_other_keys_in_the_shared_files_drops_the_credentials() {
    let Some(mut service) = Service::new().await else { return skipped(NOT_ROOT) };
    let file = service.directory.path().join("credentials");
    let start = |service: &mut Service, id: &str, secret: &str| {
        let keys = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        std::fs::write(&file, keys).unwrap();
        let mut command = service.command(Path::new(PROGRAM));
        command.env("AWS_SHARED_CREDENTIALS_FILE", &file);
        for variable in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            command.env_remove(variable);
        }
        let server = Server::spawn_logging(service.keeper.service(&command));
        service.keeper.handle();
        server
    };
    let first = start(&mut service, "AKIAONE", "one");
    passwords(&first);
    first.stop();
    let outcomes = [("AKIAONE", "\"restored\":3"), ("AKIATWO", "\"configuration_changed\":3")];
    for (id, outcome) in outcomes {
        let next = start(&mut service, id, "two");
        next.until_logged("credentials restored from the descriptor store");
        let logs = next.stop();
        assert!(logs.contains(outcome), "{id}: {logs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_without_a_service_manager_has_no_store() {
    let Some(service) = Service::new().await else { return skipped(NOT_ROOT) };
    let broker = Server::spawn_logging(service.command(Path::new(PROGRAM)));
    passwords(&broker);
    let links = std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap();
    let links = links.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap_or_default());
    assert!(!links.into_iter().any(|link| link.to_string_lossy().contains("memfd:")));
    broker.stop();
}
