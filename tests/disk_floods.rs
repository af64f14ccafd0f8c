//! Floods of requests that get nothing, and full disks, on the real program: what it writes about them, and that releases go on.
//!
//! Honest callers run beside each flood. Each test prints what it reached, for `docs/reliability.md`.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod attack;
mod certificates;
mod program;
mod raw_frames;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use attack::{Scene, Setup, attacker, client_as};
use certificates::{Authority, BROKER, RUNNER};
use ecr_broker::pb;
use futures_util::future::join_all;
use program::{PROGRAM, Server, run};
use raw_frames::{PING, Raw, frame};
use rustix::process::getuid;
use serde_json::Value;
use support::{Client, HOST, host, request};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_types::StatusExt as _;

/// Batches that are in flight together.
const AT_ONCE: usize = 8;
const BATCH: usize = 100;
/// A user of this host that may have every registry.
const FLOODER: u32 = 4242;
/// A flood of one kind by one caller leaves at most one record in this many. On a slow machine it takes longer, and has more.
const AT_LEAST_COUNTED: u64 = 4;

/// What a broker wrote during a flood.
struct Written {
    audit: Vec<Value>,
    audit_bytes: u64,
    log: Vec<Value>,
    log_bytes: usize,
}

impl Written {
    fn new(audit: &Path, log: &str) -> Self {
        let log_bytes = log.len();
        let log = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        Self { audit: records(audit), audit_bytes: fs::metadata(audit).unwrap().len(), log, log_bytes }
    }

    /// Returns the rejections with an outcome that have a record each, and those that are only counted.
    fn audited(&self, outcome: &str) -> (u64, u64) {
        let of_outcome: Vec<_> = self.audit.iter().filter(|record| record["outcome"] == outcome).collect();
        let counted: Vec<_> = of_outcome.iter().filter_map(|record| record["count"].as_u64()).collect();
        ((of_outcome.len() - counted.len()) as u64, counted.iter().sum())
    }

    /// Returns the log lines of an event about a flood, and the rejections that are only counted.
    fn logged(&self, event: &str, reason: &str) -> (u64, u64) {
        let lines = self.log.iter().filter(|line| line["message"] == event).count() as u64;
        let counts = self.log.iter().filter(|line| line["message"] == "rejections counted" && line["reason"] == reason);
        (lines, counts.filter_map(|line| line["count"].as_u64()).sum())
    }
}

fn records(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))).collect()
}

/// A broker with an audit log, and without a limit of local callers: attackers may be the same user as an honest one.
fn audited(file: &Path) -> Setup {
    // The disk of the tests may be small.
    let variables = [
        ("ECR_BROKER_AUDIT_OUTPUT", file.to_str().unwrap()),
        ("ECR_BROKER_AUDIT_RESERVE", "0B"),
        ("ECR_BROKER_LIMITS_LOCAL_REQUESTS_PER_SECOND", "1000000"),
    ];
    Setup { environment: variables.map(|(name, value)| (name, value.to_owned())).into(), ..Setup::default() }
}

/// Sends batches of a hundred times the same request; all of them get nothing.
async fn flood(client: &Client, batches: usize, asked: &pb::GetRegistryCredentialsRequest, code: Code) {
    let each = |batches: usize| {
        let (mut client, requests) = (client.clone(), vec![asked.clone(); BATCH]);
        async move {
            for _ in 0..batches {
                let batch = pb::BatchGetRegistryCredentialsRequest { requests: requests.clone() };
                let results = client.batch_get_registry_credentials(batch).await.unwrap().into_inner().results;
                assert!(results.iter().all(|result| failed_with(result, code)), "{results:?}");
            }
        }
    };
    join_all((0..AT_ONCE).map(|_| each(batches / AT_ONCE))).await;
}

fn failed_with(result: &pb::BatchResult, code: Code) -> bool {
    matches!(&result.result, Some(pb::batch_result::Result::Error(status)) if status.code == i32::from(code))
}

/// A user without a grant for the account fills neither audit log nor log.
async fn denials(batches: usize) {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.jsonl");
    let scene = Scene::start(audited(&audit)).await;
    let client = Client::new(scene.unix().connect().await.unwrap());
    let (began, total) = (Instant::now(), (batches * BATCH) as u64);
    flood(&client, batches, &request(&host(7)), Code::PermissionDenied).await;
    let took = began.elapsed();
    let log = scene.end("denials of a user", &format!("{total} denials in {took:.1?}")).await;

    let written = Written::new(&audit, &log);
    let ((recorded, counted), (lines, unlogged)) =
        (written.audited("denied"), written.logged("request denied", "CALLER_NOT_ALLOWED"));
    let (audit_bytes, log_bytes) = (written.audit_bytes, written.log_bytes as u64);
    let per_second = u128::from(audit_bytes + log_bytes) * 1000 / took.as_millis().max(1);
    println!(
        "{recorded} audit records and {lines} log lines, the rest counted; {audit_bytes} bytes of audit with all releases \
         and {log_bytes} of log, {per_second} bytes per second"
    );
    assert_eq!((recorded + counted, lines + unlogged), (total, total), "no denial is lost");
    assert!(recorded <= total / AT_LEAST_COUNTED && lines <= total / AT_LEAST_COUNTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_twenty_thousand_denials_leave_few_records_and_an_exact_count() {
    denials(200).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute"]
async fn p11_two_hundred_thousand_denials_leave_few_records() {
    denials(2_000).await;
}

/// A local user has a rate, which counts the items of batches, and a batch has one record for each credential.
#[tokio::test(flavor = "multi_thread")]
async fn p11_flood_of_releases_is_limited_and_each_batch_has_one_record() {
    const LONGEST: usize = 2_000;
    if !getuid().is_root() {
        println!("skipped: this process may not call as another user");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.jsonl");
    let mut setup = audited(&audit);
    // Below what a slow machine can do, and above what an honest caller of the test does.
    let rate = setup.environment.last_mut().unwrap();
    *rate = (rate.0, "500".to_owned());
    setup.tables = grant_of_everything();
    let scene = Scene::start(setup).await;
    let (client, began) = (scene.user(FLOODER).await, Instant::now());
    let each = || async {
        let mut client = client.clone();
        for batches in 0..LONGEST / AT_ONCE {
            let batch = pb::BatchGetRegistryCredentialsRequest { requests: vec![request(HOST); BATCH] };
            match client.batch_get_registry_credentials(batch).await {
                Ok(results) => assert!(results.into_inner().results.iter().all(is_released)),
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                    return batches;
                }
            }
        }
        panic!("a flood without an end");
    };
    let batches: usize = join_all((0..AT_ONCE).map(|_| each())).await.into_iter().sum();
    let took = began.elapsed();
    let log = scene.end("releases of a user", &format!("{batches} batches in {took:.1?} until the rate refused")).await;

    let written = Written::new(&audit, &log);
    let flood: Vec<_> = written.audit.iter().filter(|record| is_of_flooder(record)).collect();
    let released: u64 = flood.iter().map(|record| record["count"].as_u64().unwrap_or(1)).sum();
    let (records, bytes) = (flood.len(), written.audit_bytes);
    println!("{records} records of {released} releases; {bytes} bytes of audit with those of the honest callers");
    assert_eq!((records, released), (batches, (batches * BATCH) as u64));
    assert!(flood.iter().all(|record| record["count"] == BATCH && record["request_id"].is_string()));
}

fn is_released(result: &pb::BatchResult) -> bool {
    matches!(&result.result, Some(pb::batch_result::Result::Credentials(_)))
}

fn is_of_flooder(record: &Value) -> bool {
    record["caller"].as_str().is_some_and(|caller| caller.starts_with(&format!("uid:{FLOODER},")))
}

fn grant_of_everything() -> String {
    format!(
        "[[grants]]\nid = \"flood\"\ncallers = [{{ uid = {FLOODER} }}]\n\
         registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n"
    )
}

/// Each item of a batch is an error, not a line.
#[tokio::test(flavor = "multi_thread")]
async fn batches_of_invalid_items_leave_a_line_and_a_count() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.jsonl");
    let scene = Scene::start(audited(&audit)).await;
    let client = Client::new(scene.unix().connect().await.unwrap());
    let invalid = pb::GetRegistryCredentialsRequest { target: None, ..request(HOST) };
    flood(&client, 80, &invalid, Code::InvalidArgument).await;
    let log = scene.end("invalid items of batches", "8,000 items").await;

    let written = Written::new(&audit, &log);
    let (lines, counted) = written.logged("request failed", "REQUEST_INVALID");
    println!("{lines} log lines, {counted} items counted, {} bytes of log", written.log_bytes);
    assert_eq!(lines + counted, 8_000);
    assert!(lines <= 8_000 / 100, "{lines}: one a minute");
}

/// Calls without any proof are audited, by their addresses, and fill neither log.
/// Any user of the socket can stall connections as often as it likes.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_connections_leave_a_line_and_a_count() {
    const STALLED: u64 = 50;
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.jsonl");
    let scene = Scene::start(audited(&audit)).await;
    let stalled = (0..STALLED).map(|_| async {
        let stream = UnixStream::connect(scene.socket()).await.unwrap();
        // A frame whose rest never comes.
        let mut raw = Raw::open_over(stream, &[]).await;
        raw.write(&frame(PING, 0, 0, &[0; 8])[..12]).await.unwrap();
        raw.until_cut(true).await;
    });
    join_all(stalled).await;
    let log = scene.end("stalled connections", "50 connections").await;
    let written = Written::new(&audit, &log);
    let (lines, counted) = written.logged("connection closed: peer misbehaved", "PEER_MISBEHAVED");
    assert_eq!(lines + counted, STALLED);
    assert!(lines <= STALLED / AT_LEAST_COUNTED, "{lines} lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_proof_leave_a_record_per_address_and_a_count() {
    const ADDRESSES: u8 = 4;
    const CALLS: usize = 1_000;
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.jsonl");
    let scene = Scene::start(audited(&audit)).await;
    let calls = |endpoint: Endpoint| async move {
        let mut client = Client::new(endpoint.connect().await.unwrap());
        for _ in 0..CALLS {
            let status = client.get_registry_credentials(request(HOST)).await.unwrap_err();
            // Above the budget of its failures an address is refused before it could prove anything.
            assert!([Code::Unauthenticated, Code::ResourceExhausted].contains(&status.code()), "{status:?}");
        }
    };
    join_all((1..=ADDRESSES).map(|number| calls(scene.anonymous(attacker(number))))).await;
    let log = scene.end("calls without proof", &format!("{CALLS} calls of each of {ADDRESSES} addresses")).await;

    let written = Written::new(&audit, &log);
    let (recorded, counted) = written.audited("unauthenticated");
    let lines = written.logged("request failed", "").0;
    println!("{recorded} audit records and {lines} log lines, {counted} counted; {} bytes of log", written.log_bytes);
    for number in 1..=ADDRESSES {
        let origin = attacker(number).to_string();
        let record = written.audit.iter().find(|record| record["origin"] == origin.as_str()).unwrap();
        assert_eq!((&record["outcome"], &record["proof"]), (&"unauthenticated".into(), &"none".into()), "{record}");
        assert!(record["reason"].as_str().unwrap().contains("client certificate"), "{record}");
    }
    let most = CALLS as u64 / 50 * u64::from(ADDRESSES);
    assert!(recorded <= most && lines <= most, "{recorded} records, {lines} lines");
    assert!(counted > 0 && recorded + counted <= CALLS as u64 * u64::from(ADDRESSES));
}

/// The records of failed proofs name the kind of the proof and a fixed reason.
#[tokio::test(flavor = "multi_thread")]
async fn failed_certificates_and_tokens_are_audited_without_their_text() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.jsonl");
    let scene = Scene::start(audited(&audit)).await;
    let stranger = Authority::new(directory.path(), "other.pem", "another authority").workload(RUNNER);
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(scene.authority.pem()));
    let tls = tls.domain_name(BROKER).identity(Identity::from_pem(&stranger.certificate, &stranger.key));
    let certified = scene.anonymous(attacker(1)).tls_config(tls).unwrap();
    for _ in 0..3 {
        Client::new(certified.connect_lazy()).get_registry_credentials(request(HOST)).await.unwrap_err();
    }
    let mut client = Client::new(scene.anonymous(attacker(2)).connect().await.unwrap());
    for _ in 0..3 {
        let mut with_token = tonic::Request::new(request(HOST));
        with_token.metadata_mut().insert("authorization", "Bearer canary.canary.canary".parse().unwrap());
        let status = client.get_registry_credentials(with_token).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    }
    let log = scene.end("failed proofs", "3 certificates and 3 tokens").await;

    let written = Written::new(&audit, &log);
    for (origin, proof, reason) in [
        (attacker(1), "certificate", "client certificate has an unknown issuer"),
        (attacker(2), "token", "the broker accepts no bearer tokens"),
    ] {
        let origin = origin.to_string();
        let of_origin: Vec<_> = written.audit.iter().filter(|record| record["origin"] == origin.as_str()).collect();
        assert!(of_origin.iter().all(|record| record["proof"] == proof), "{of_origin:?}");
        assert!(of_origin.iter().all(|record| record["reason"].as_str().unwrap().starts_with(reason)), "{of_origin:?}");
        // The client library may have repeated a connection.
        let failures: u64 = of_origin.iter().map(|record| record["count"].as_u64().unwrap_or(1)).sum();
        assert!(failures >= 3, "{of_origin:?}");
    }
    assert!(!log.contains("canary") && !fs::read_to_string(&audit).unwrap().contains("canary"));
}

/// A broker whose audit log is on a small disk, in a separate mount namespace.
struct SmallDisk {
    broker: Server,
    client: Client,
    /// The disk's directory, as this process sees it.
    disk: PathBuf,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl SmallDisk {
    /// Starts the broker with a disk of so many MB; `None` if this process may not mount.
    async fn start(size_mb: u32, reserve: &str) -> Option<Self> {
        let mount = format!("mount -t tmpfs -o size={size_mb}m tmpfs \"$0\"");
        Self::mounted(tempfile::tempdir().unwrap(), &mount, reserve).await
    }

    /// Starts the broker with a disk that can be frozen, and two workers; `None` if this process may not mount.
    async fn with_ext4() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        fs::File::create(&image).unwrap().set_len(8 * 1024 * 1024).unwrap();
        let formatted = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).output();
        if !formatted.is_ok_and(|output| output.status.success()) {
            println!("skipped: mkfs.ext4 is not installed");
            return None;
        }
        let mount = format!("mount -o loop '{}' \"$0\"", image.display());
        Self::mounted(directory, &mount, "0B").await
    }

    async fn mounted(directory: tempfile::TempDir, mount: &str, reserve: &str) -> Option<Self> {
        let (disk, socket, config) =
            (directory.path().join("disk"), directory.path().join("b.sock"), directory.path().join("broker.toml"));
        fs::create_dir(&disk).unwrap();
        let mounted = |then: &[&str]| {
            let mut command = Command::new("unshare");
            let script = format!("{mount} && exec \"$@\"");
            command.env("TOKIO_WORKER_THREADS", "2").args(["--mount", "sh", "-c", &script]).arg(&disk).args(then);
            command
        };
        if !mounted(&["true"]).output().is_ok_and(|output| output.status.success()) {
            println!("skipped: this process may not mount a disk");
            return None;
        }
        let grants = format!(
            "server.listen = [\"unix:{}\"]\naudit = {{ output = \"{}\", reserve = \"{}\" }}\n[[grants]]\nid = \"own\"\n\
             callers = [{{ uid = {} }}]\nregistries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n",
            socket.display(),
            disk.join("audit.jsonl").display(),
            reserve,
            getuid().as_raw(),
        );
        fs::write(&config, grants + &grant_of_everything()).unwrap();
        let command = mounted(&[PROGRAM, "serve", "--simulate", "--config", config.to_str().unwrap()]);
        let broker = Server::spawn_logging(command);
        let client = Client::new(channel(&socket).await);
        let seen = Path::new("/proc").join(broker.pid().to_string()).join("root").join(disk.strip_prefix("/").unwrap());
        Some(Self { broker, client, disk: seen, socket, _directory: directory })
    }

    /// Fills the disk with so many bytes, or as many as fit.
    fn fill(&self, bytes: usize) {
        _ = fs::write(self.disk.join("filler"), vec![0; bytes]);
    }

    async fn get(&mut self) -> Result<(), Code> {
        self.client.get_registry_credentials(request(HOST)).await.map(drop).map_err(|status| status.code())
    }

    async fn deny(&mut self) {
        let denied = self.client.get_registry_credentials(request(&host(7))).await;
        assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
    }

    /// Returns the complete lines of the audit log, and the number of others.
    fn audit(&self) -> (Vec<Value>, usize) {
        let text = fs::read_to_string(self.disk.join("audit.jsonl")).unwrap();
        let whole: Vec<_> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let cut = text.lines().count() - whole.len();
        (whole, cut)
    }

    fn recorded_denials(&self) -> usize {
        self.audit().0.iter().filter(|record| record["outcome"] == "denied").count()
    }
}

async fn channel(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn p11_releases_outlast_denials_on_a_full_disk_and_recover() {
    let Some(mut small) = SmallDisk::start(1, "512KiB").await else { return };
    small.get().await.unwrap();
    small.deny().await;
    assert_eq!(small.recorded_denials(), 1);

    // Less is free than the reserve: releases go on, denials are counted. The broker looks ten times a second.
    small.fill(700 * 1024);
    let mut released = 1;
    while !small.broker.has_logged("audit reserve reached") {
        small.get().await.unwrap();
        released += 1;
    }
    small.deny().await;
    assert_eq!(small.recorded_denials(), 1);

    // The disk is full. What is left of the file's last page takes some records, and cuts the last.
    small.fill(2 * 1024 * 1024);
    while small.get().await.is_ok() {
        released += 1;
    }
    assert_eq!(small.get().await, Err(Code::Unavailable), "AUDIT_UNAVAILABLE");
    small.deny().await;

    fs::remove_file(small.disk.join("filler")).unwrap();
    small.get().await.unwrap();
    small.broker.until_logged("audit log write recovered");
    small.deny().await;
    let (whole, cut) = small.audit();
    let recorded = whole.iter().filter(|record| record["outcome"] == "released").count();
    println!("{recorded} releases on a disk of 1 MB, {cut} line cut short, released again without a restart");
    assert!(cut <= 1 && recorded == released + 1, "{cut} lines cut, {recorded} of {released} releases");
    assert_eq!(small.recorded_denials(), 2);
}

/// A filesystem whose writes hang until it is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn new(disk: &Path) -> Option<Self> {
        let frozen = Command::new("fsfreeze").arg("--freeze").arg(disk).output();
        frozen.is_ok_and(|output| output.status.success()).then(|| Self(disk.to_owned()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        assert!(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).status().unwrap().success());
    }
}

/// Each call has its own connection. The write of one hangs, and with it one of two workers.
#[tokio::test(flavor = "multi_thread")]
async fn p11_frozen_disk_hangs_one_call_and_refuses_the_others() {
    const CALLS: usize = 6;
    let Some(mut small) = SmallDisk::with_ext4().await else { return };
    small.get().await.unwrap();
    let mut calls = JoinSet::new();
    let clients = join_all((0..CALLS).map(|_| channel(&small.socket))).await;
    let Some(frozen) = Frozen::new(&small.disk) else { return println!("skipped: this process may not freeze a disk") };
    let began = Instant::now();
    for client in clients {
        let mut client = Client::new(client);
        calls.spawn(async move { client.get_registry_credentials(request(HOST)).await.map(drop) });
    }
    for _ in 1..CALLS {
        let status = calls.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "AUDIT_UNAVAILABLE", "{status:?}");
    }
    println!("{} calls refused after {:.1?}", CALLS - 1, began.elapsed());
    let address = format!("unix:{}", small.socket.display());
    assert_eq!(run(&["probe", "--address", &address], &[]).code, 0, "the broker is healthy");
    assert_eq!(calls.len(), 1);

    drop(frozen);
    _ = calls.join_next().await.unwrap().unwrap();
    small.get().await.unwrap();
    let (whole, cut) = small.audit();
    assert_eq!((whole.len(), cut), (CALLS + 2, 0), "the records of refused calls were written late");
}

/// A caller that floods a disk with its releases gets `AUDIT_UNAVAILABLE`, and no other caller does.
#[tokio::test]
async fn p11_flood_of_releases_on_a_small_disk_refuses_its_caller_only() {
    const SIZE_MB: u32 = 4;
    let Some(mut small) = SmallDisk::start(SIZE_MB, "64MiB").await else { return };
    let mut flooder = client_as(&small.socket, FLOODER).await;
    let mut batch = async || {
        let requests = (1..=BATCH).map(|number| request(&host(number))).collect();
        let batch = pb::BatchGetRegistryCredentialsRequest { requests };
        let results = flooder.batch_get_registry_credentials(batch).await.unwrap().into_inner().results;
        let released = results.iter().filter(|result| is_released(result)).count();
        let refused = results.iter().filter(|result| failed_with(result, Code::Unavailable)).count();
        assert_eq!(released + refused, BATCH, "{results:?}");
        released
    };
    let mut released_to_it = 0;
    loop {
        let released = batch().await;
        released_to_it += released;
        if released < BATCH {
            break;
        }
    }
    small.broker.until_logged("audit reserve reached");
    let bytes = fs::metadata(small.disk.join("audit.jsonl")).unwrap().len();
    let share = u64::from(SIZE_MB) * 1024 * 1024 / 8;
    println!("a flood of {released_to_it} releases took {bytes} bytes of a disk of {SIZE_MB} MB");
    assert!((share / 2..=share).contains(&bytes), "{bytes}");
    for _ in 0..100 {
        small.get().await.unwrap();
    }
    assert_eq!(batch().await, 0, "the flood stays refused");
    assert_eq!(small.audit().1, 0);
}
