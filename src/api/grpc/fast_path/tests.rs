use std::num::NonZeroU32;
use std::sync::Mutex;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use super::super::encode;
use super::*;
use crate::api::calls::Calls;
use crate::api::trace::Tracing;
use crate::audit::test_disk::Disk;
use crate::audit::{self, OnFailure, Output};
use crate::broker::{self, Broker, CredentialRequest, PlainHit, Released, RequestContext};
use crate::cache::{self, CredentialCache, KeptCredential};
use crate::caller::Caller;
use crate::clock::Clock;
use crate::credential::{Credential, CredentialKey, Minter, ProfileName, Revision, SourceName};
use crate::hops::{Hops, InstanceId};
use crate::limits::{self, LimitHits, Limits};
use crate::metrics::{Exposition, Format, Registry};
use crate::moment::Moment;
use crate::pb;
use crate::pb::get_registry_credentials_request::Target;
use crate::policy::Policy;
use crate::registry::Aliases;
use crate::rejections::RejectionRecorder;
use crate::source::{
    CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus,
    broker as parent,
};

mod logs;
mod memos;
mod spans;

const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
/// A word that no name of the code has.
const PASSWORD: &str = "xyzzy";
const HOUR: Duration = Duration::from_hours(1);
/// The reserve of an audit log on a [`Disk`].
const RESERVE: u64 = 1 << 20;
const CALLER: Caller = Caller::Process { uid: 1001, gid: 1 };

#[derive(Debug)]
struct Still(Mutex<Moment>);

impl Clock for Still {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }
}

/// A source without credentials: those of the tests are put into the cache.
#[derive(Debug)]
struct Nothing;

impl SourceIdentity for Nothing {
    fn name(&self) -> SourceName {
        SourceName::Aws
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Ready
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(std::future::ready(SourceStatus::Ready))
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    fn expires(&self) -> Option<SystemTime> {
        None
    }
}

impl CredentialSource for Nothing {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, _: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(std::future::pending())
    }

    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        HOUR
    }
}

/// A broker with one cached credential, and the fast path of one connection to it.
struct Served {
    clock: Arc<Still>,
    cache: CredentialCache,
    broker: Arc<Broker>,
    path: FastPath,
    shutdown: CancellationToken,
    exposition: Exposition,
}

/// What a test changes.
#[derive(Default)]
struct Change {
    tracing: Tracing,
    audit: Option<Output>,
    /// The disk of an audit log with [`RESERVE`], instead of `audit`.
    disk: Option<Disk>,
    parents: Vec<parent::Settings>,
    on_failure: OnFailure,
    in_flight: Option<usize>,
}

impl Served {
    async fn new() -> Self {
        Self::with(Change::default()).await
    }

    async fn with(change: Change) -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let clock = Arc::new(Still(Mutex::new(Moment { wall, steady: HOUR })));
        let mut registry = Registry::default();
        let hits = LimitHits::new(&mut registry);
        let settings = cache::Settings {
            refresh_after: 6 * HOUR,
            safety_margin: Duration::from_mins(5),
            capacity: 100,
            max_waiters: 100,
            max_exposed_keys: 0,
        };
        let cache = CredentialCache::new(settings, Arc::new(Nothing), clock.clone(), &hits, &mut registry);
        let on_failure = change.on_failure;
        let settings = |output| audit::Settings { output, reserve: 0, on_failure };
        let audit = change
            .audit
            .map(|output| audit::AuditLog::open(&settings(output), clock.clone()).unwrap())
            .or_else(|| change.disk.map(|disk| disk.audit_log(RESERVE, clock.clone())));
        if let Some(audit) = &audit {
            audit.register(&mut registry);
        }
        let one = NonZeroU32::new(1_000).unwrap();
        let rejections = RejectionRecorder::new(one, audit, clock.clone(), &mut registry);
        let settings = broker::Settings {
            policy: Policy::Open,
            profiles: Vec::new().into(),
            parents: change.parents,
            region: None,
            regions: Vec::new(),
            aliases: Aliases::default(),
            keep_warm: Vec::new(),
            issuers: None,
            config: String::new(),
            max_min_validity: HOUR,
            loopback_operates: false,
            instance: InstanceId::random(),
        };
        let broker = Arc::new(Broker::new(cache.clone(), settings, rejections.clone(), &mut registry));
        let limits = limits::Settings {
            requests_per_second: one,
            local_requests_per_second: one,
            in_flight: change.in_flight.unwrap_or(1_000),
            watch_memory: 1 << 20,
            watch_memory_per_caller: 1 << 20,
            failures_per_second: one,
            unproved_connections: 1,
            callers: Vec::new(),
        };
        let dynamic: Arc<dyn Clock> = clock.clone();
        let shutdown = CancellationToken::new();
        let path = FastPath::new(Parts {
            broker: Arc::clone(&broker),
            limits: Limits::new(limits, &dynamic, &hits, &mut registry),
            tracing: Arc::new(change.tracing),
            calls: Calls::new(&mut registry),
            rejections,
            force_shutdown: shutdown.clone(),
        });
        let served = Self { clock, cache, broker, path, shutdown, exposition: Exposition::new(registry) };
        served.put(PASSWORD).await;
        served
    }

    /// Caches a credential of twelve hours.
    async fn put(&self, password: &str) {
        self.put_minted(password, Minter::default()).await;
    }

    async fn put_minted(&self, password: &str, minter: Minter) {
        self.put_due_in(6 * HOUR, password, minter).await;
    }

    async fn put_due_in(&self, delay: Duration, password: &str, minter: Minter) {
        self.cache.put_back(self.kept(delay, password, minter)).await.unwrap();
    }

    /// Returns a credential of twelve hours that is refreshed after `delay`.
    fn kept(&self, delay: Duration, password: &str, minter: Minter) -> KeptCredential {
        let now = self.clock.now();
        let credential =
            Credential::new(SourceName::Aws, "AWS", password, now.wall, now.wall + 12 * HOUR, now).unwrap();
        KeptCredential {
            key: CredentialKey {
                registry: HOST.parse().unwrap(),
                profile: ProfileName::default_profile(),
                revision: Revision::default(),
                caller: None,
                lifetime: None,
            },
            credential: Arc::new(credential.minted_by(minter)),
            refresh_at: now.after(delay),
            is_stale: false,
        }
    }

    fn advance(&self, time: Duration) {
        let mut now = self.clock.0.lock().unwrap();
        *now = now.after(time);
    }

    fn connection(&self, peer: Peer) -> ConnectionFastPath {
        self.path.for_peer(peer, Origin::Uid(1001))
    }

    fn begin_with(&self, message: Bytes) -> Verdict {
        self.connection(Peer::Known(CALLER)).begin(head(), &HeaderMap::new(), message)
    }

    fn begin(&self) -> Verdict {
        self.begin_with(message(HOST))
    }

    /// Returns the answer of the ordinary path, which remembers it if the fast path told it to.
    async fn ordinary(&self, verdict: Verdict) -> Bytes {
        let Verdict::HandOver(HandOver { remember }) = verdict else { panic!("not handed over") };
        let (released, hit) = self.released().await;
        let credentials = encode::credentials(released);
        if let (Some(remember), Some(hit)) = (remember, hit) {
            remember.note(CALLER, hit, &credentials);
        }
        framed(&pb::GetRegistryCredentialsResponse { credentials: Some(credentials) })
    }

    /// Returns what the ordinary path releases, and what later hits need.
    async fn released(&self) -> (Released, Option<PlainHit>) {
        let context = RequestContext {
            caller: CALLER,
            token: None,
            id: RequestId::random(),
            trace_id: None,
            hops: Hops::default(),
        };
        let request = CredentialRequest::new(context, self.broker.resolve(HOST).unwrap());
        self.broker.repeatable_credentials(request).await.unwrap()
    }

    /// Has the ordinary path answer once, so that the fast path answers next.
    async fn warm(&self) {
        self.ordinary(self.begin()).await;
    }

    fn is_fast(&self) -> bool {
        matches!(self.begin(), Verdict::Hit(_))
    }

    fn scrape(&self, line: &str) -> Option<String> {
        let text = self.exposition.encode(Format::Prometheus);
        text.lines().find(|own| own.starts_with(line)).map(|own| own[line.len()..].trim().to_owned())
    }
}

fn head() -> Head {
    let request = Request::post(format!("http://localhost/{}", METHOD.name));
    Head::of(&request.header("content-type", "application/grpc").body(()).unwrap()).unwrap()
}

fn framed(message: &impl prost::Message) -> Bytes {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &bytes].concat().into()
}

fn message(host: &str) -> Bytes {
    let target = Some(Target::Registry(host.to_owned()));
    framed(&pb::GetRegistryCredentialsRequest { target, ..Default::default() })
}

async fn answered(verdict: Verdict) -> Answer {
    let Verdict::Hit(mut hit) = verdict else { panic!("handed over") };
    std::future::poll_fn(|context| hit.poll(context)).await
}

async fn answered_bytes(verdict: Verdict) -> Bytes {
    match answered(verdict).await {
        Answer::Credentials(message, _) => message.into(),
        Answer::Response(response) => panic!("{:?}", response.headers()),
    }
}

#[tokio::test]
async fn second_hit_gets_the_bytes_of_the_ordinary_path_and_counts_alike() {
    let served = Served::new().await;
    served.warm().await;
    let [nanosecond, millisecond, second] =
        [Duration::from_nanos, Duration::from_millis, Duration::from_secs].map(|of| of(1));
    // At the end a refresh is due sooner than a caller should ask again.
    for passed in [Duration::ZERO, nanosecond, HOUR + 7 * millisecond, 3 * HOUR, HOUR + 3570 * second] {
        served.advance(passed);
        let fast = answered_bytes(served.begin()).await;
        assert_eq!(fast, served.ordinary(HandOver::default().into()).await, "after {passed:?}");
        drop(served.begin());
    }
    let hits = served.scrape("ecr_broker_credentials_total{outcome=\"hit\"}").unwrap();
    // Each of five rounds has a fast and an ordinary hit, and one whose caller left.
    assert_eq!(hits, (1 + 5 * 2).to_string());
    assert_eq!(served.scrape("ecr_broker_credentials_total{outcome=\"error\"}").unwrap(), "5");
    assert_eq!(served.scrape("ecr_broker_rpcs_in_flight").unwrap(), "0");
    assert_eq!(served.scrape("ecr_broker_credential_remaining_seconds_count").unwrap(), hits);
}

#[tokio::test]
async fn other_bytes_callers_and_unproved_peers_are_handed_over() {
    let served = Served::new().await;
    assert!(!served.is_fast(), "nothing is remembered yet");
    served.warm().await;
    assert!(served.is_fast());
    assert!(matches!(served.begin_with(message("public.ecr.aws")), Verdict::HandOver(_)));
    for caller in [Caller::Process { uid: 1001, gid: 2 }, Caller::Process { uid: 1002, gid: 1 }, Caller::Loopback] {
        let verdict = served.connection(Peer::Known(caller)).begin(head(), &HeaderMap::new(), message(HOST));
        assert!(matches!(verdict, Verdict::HandOver(HandOver { remember: Some(_) })));
    }
    for peer in [Peer::Unknown("no proof"), Peer::Known(Caller::AwsApi), Peer::Known("jwt:blue:ci".parse().unwrap())] {
        let verdict = served.connection(peer).begin(head(), &HeaderMap::new(), message(HOST));
        assert!(matches!(verdict, Verdict::HandOver(HandOver { remember: None })));
    }
    let whole = message(HOST);
    let mut compressed = whole.to_vec();
    compressed[0] = 1;
    let long = message(&"a".repeat(2_000));
    for bytes in [whole.slice(..whole.len() - 1), whole.slice(..3), compressed.into(), long, Bytes::new()] {
        assert!(matches!(served.begin_with(bytes), Verdict::HandOver(HandOver { remember: None })));
    }
}

#[tokio::test]
async fn connection_keeps_its_last_memo_while_it_is_true_and_stored() {
    let served = Served::new().await;
    served.warm().await;
    let connection = served.connection(Peer::Known(CALLER));
    let is_fast = |host| matches!(connection.begin(head(), &HeaderMap::new(), message(host)), Verdict::Hit(_));
    assert!((0..3 * last_memo::USES).all(|_| is_fast(HOST)));
    assert!(!is_fast("public.ecr.aws"), "another request");
    assert!(is_fast(HOST));
    served.broker.set_policy(Policy::Open);
    assert!(!is_fast(HOST), "the policy was replaced");
    served.warm().await;
    assert!((0..3 * last_memo::USES).all(|_| is_fast(HOST)), "by the new memo");
    served.path.memos.clear();
    assert!((0..=last_memo::USES).any(|_| !is_fast(HOST)), "the storage was never asked");
}

#[tokio::test]
async fn hit_is_handed_over_once_anything_of_it_has_changed() {
    let served = Served::new().await;
    served.warm().await;
    served.broker.set_policy(Policy::Open);
    assert!(!served.is_fast(), "the policy was replaced");
    served.warm().await;
    assert!(served.is_fast());

    served.put("second").await;
    assert!(!served.is_fast(), "the credential was replaced");
    served.warm().await;
    assert!(served.is_fast());

    served.advance(6 * HOUR);
    assert!(!served.is_fast(), "a refresh is due");
    served.put("third").await;
    served.warm().await;
    assert!(served.is_fast());
    let mut now = served.clock.now();
    now.wall += 11 * HOUR + Duration::from_mins(55) + Duration::from_secs(1);
    let before = std::mem::replace(&mut *served.clock.0.lock().unwrap(), now);
    assert!(!served.is_fast(), "it ends within the safety margin by one of the clocks");
    *served.clock.0.lock().unwrap() = before;
    assert!(served.is_fast());

    let minter = Minter::default();
    served.put_minted("fourth", minter.clone()).await;
    served.warm().await;
    assert!(served.is_fast());
    minter.name("arn:aws:iam::123456789012:role/node");
    assert!(!served.is_fast(), "the record names the minter from now on");
    served.warm().await;
    assert!(served.is_fast());

    served.shutdown.cancel();
    assert!(!served.is_fast(), "the broker ends its calls");
}

/// Mostly a refresh is due long before. Here only the validity that is left ends the hits.
#[tokio::test]
async fn p3_hit_ends_with_the_safety_margin_although_no_refresh_is_due() {
    let served = Served::new().await;
    served.put_due_in(24 * HOUR, "late", Minter::default()).await;
    served.warm().await;
    served.advance(Duration::from_mins(11 * 60 + 55));
    let fast = answered_bytes(served.begin()).await;
    assert_eq!(fast, served.ordinary(HandOver::default().into()).await, "the safety margin is left");
    served.advance(Duration::from_nanos(1));
    assert!(!served.is_fast());
    served.advance(HOUR);
    assert!(!served.is_fast(), "it has expired");
}

#[tokio::test]
async fn stale_entry_and_debug_spans_are_handed_over() {
    let served = Served::new().await;
    served.warm().await;
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::sink).finish();
    assert!(!tracing::subscriber::with_default(subscriber, || served.is_fast()), "its span would be logged");
    assert!(served.is_fast());
    let now = served.clock.now();
    let credential = Credential::new(SourceName::Aws, "AWS", "old", now.wall, now.wall + 12 * HOUR, now).unwrap();
    let key = CredentialKey {
        registry: HOST.parse().unwrap(),
        profile: ProfileName::default_profile(),
        revision: Revision::default(),
        caller: None,
        lifetime: None,
    };
    let credential = Arc::new(credential);
    served
        .cache
        .put_back(KeptCredential { key, credential, refresh_at: now.after(HOUR), is_stale: true })
        .await
        .unwrap();
    served.warm().await;
    assert!(!served.is_fast(), "STALE is not a plain hit");
}

#[tokio::test]
async fn call_over_its_limit_is_refused_as_by_the_ordinary_path() {
    let served = Served::with(Change { in_flight: Some(8), ..Change::default() }).await;
    served.warm().await;
    let mut held = Vec::new();
    let refused = loop {
        match answered(served.begin()).await {
            Answer::Credentials(message, admission) => held.push((message, admission)),
            Answer::Response(response) => break response,
        }
        assert!(held.len() < 1_000);
    };
    let status = tonic::Status::from_header_map(refused.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    drop(held);
    answered_bytes(served.begin()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_answer_is_composed_after_its_record_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let served = Served::with(Change { audit: Some(Output::File(file.clone())), ..Change::default() }).await;
    served.warm().await;
    let answer = answered_bytes(served.begin()).await;
    let records = std::fs::read_to_string(&file).unwrap();
    let records: Vec<serde_json::Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [ordinary, fast] = &records[..] else { panic!("{records:?}") };
    let without_id = |record: &serde_json::Value| {
        let mut record = record.clone();
        let id = record.as_object_mut().unwrap().remove("request_id").unwrap();
        assert_eq!(id.as_str().unwrap().len(), 32);
        record
    };
    assert_eq!(without_id(ordinary), without_id(fast));
    assert_ne!(ordinary["request_id"], fast["request_id"]);
    let answer = pb::GetRegistryCredentialsResponse::decode(&answer[5..]).unwrap().credentials.unwrap();
    assert_eq!(fast["credential_id"], answer.credential_id);
}

/// With one worker, a thread writes the records.
#[tokio::test]
async fn p11_hit_waits_for_the_thread_that_writes_its_record() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let served = Served::with(Change { audit: Some(Output::File(file.clone())), ..Change::default() }).await;
    served.warm().await;
    for count in 2..5 {
        answered_bytes(served.begin()).await;
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), count);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_driven_calls_wait_for_one_write_of_their_records() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let served = Served::with(Change { audit: Some(Output::File(file.clone())), ..Change::default() }).await;
    served.warm().await;
    let connection = served.connection(Peer::Known(CALLER));
    let batch = connection.batch().unwrap();
    batch.collect(true);
    let mut hits = Vec::new();
    for _ in 0..3 {
        let Verdict::Hit(hit) = connection.begin(head(), &HeaderMap::new(), message(HOST)) else {
            panic!("handed over")
        };
        hits.push(hit);
    }
    let mut context = TaskContext::from_waker(Waker::noop());
    assert!(hits.iter_mut().all(|hit| hit.poll(&mut context).is_pending()));
    let records = || std::fs::read_to_string(&file).unwrap().lines().count();
    assert_eq!(records(), 1, "that of the ordinary path");
    batch.commit();
    assert_eq!(records(), 4);
    for mut hit in hits {
        let Poll::Ready(Answer::Credentials(..)) = hit.poll(&mut context) else { panic!("not answered") };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_failed_record_withholds_the_credential() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let served = Served::with(Change { audit: Some(Output::File(file.clone())), ..Change::default() }).await;
    served.warm().await;
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    // The file is looked for at most every 100 ms.
    served.advance(Duration::from_millis(100));
    let Answer::Response(refused) = answered(served.begin()).await else { panic!("released") };
    let status = tonic::Status::from_header_map(refused.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let info = tonic_types::StatusExt::get_details_error_info(&status).unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["registry"].as_str()), ("AUDIT_UNAVAILABLE", HOST));
    assert_eq!(served.scrape("ecr_broker_credentials_total{outcome=\"hit\"}").unwrap(), "1", "the ordinary one");
}

/// Its record is added before the reserve is reached, and written after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_hit_counts_for_the_share_of_its_caller_on_a_full_disk() {
    for (flooding, expected) in [(CALLER, false), (Caller::Process { uid: 1002, gid: 1 }, true)] {
        let disk = Disk::with_room(1 << 30);
        let served = Served::with(Change { disk: Some(disk.clone()), ..Change::default() }).await;
        served.warm().await;
        let connection = served.connection(Peer::Known(CALLER));
        let batch = connection.batch().unwrap();
        batch.collect(true);
        let verdict = connection.begin(head(), &HeaderMap::new(), message(HOST));
        disk.set_free(RESERVE / 2);
        // The free space is looked for at most every 100 ms.
        served.advance(Duration::from_millis(100));
        let others = served.path.parts.rejections.audit_log().unwrap().batch();
        let share = usize::try_from(RESERVE / 2 / 8).unwrap();
        let mut flood = others.add(vec![b' '; share], flooding);
        others.commit();
        assert_eq!(flood.try_written(), Some(true), "all of the share");
        let Verdict::Hit(mut hit) = verdict else { panic!("handed over") };
        let mut context = TaskContext::from_waker(Waker::noop());
        assert!(hit.poll(&mut context).is_pending());
        batch.commit();
        let Poll::Ready(answer) = hit.poll(&mut context) else { panic!("not answered") };
        assert_eq!(matches!(answer, Answer::Credentials(..)), expected);
    }
}

/// The first call meets the failure on the fast path, and the second one is handed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_record_releases_the_credential_if_configured() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let on_failure = OnFailure::Release { buffer: 1 << 20 };
    let audit = Some(Output::File(file.clone()));
    let served = Served::with(Change { audit, on_failure, ..Change::default() }).await;
    served.warm().await;
    let lines = || std::fs::read_to_string(&file).unwrap().lines().count();
    assert_eq!(lines(), 1);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    served.advance(Duration::from_millis(100));
    answered_bytes(served.begin()).await;
    let delayed = "ecr_broker_audit_unrecorded_releases_total{record=\"delayed\"}";
    assert_eq!(served.scrape(delayed).unwrap(), "1");
    assert_eq!(served.scrape("ecr_broker_audit_buffered_records").unwrap(), "1");
    assert!(matches!(served.begin(), Verdict::HandOver(_)), "the ordinary path answers while records fail");
    std::fs::remove_dir(&file).unwrap();
    served.warm().await;
    assert_eq!(lines(), 2, "the record that waited, and that of the ordinary path");
    assert_eq!(served.scrape("ecr_broker_audit_buffered_records").unwrap(), "0");
    answered_bytes(served.begin()).await;
    assert_eq!(lines(), 3);
}

#[tokio::test]
async fn memo_and_hit_print_no_secret() {
    let served = Served::new().await;
    served.warm().await;
    let key = MemoKey::new(CALLER, message(HOST)).unwrap();
    let memo = served.path.memos.get(&key).unwrap();
    let text = format!("{memo:?} {key:?} {:?}", served.begin());
    assert!(text.contains("redacted") && !text.contains(PASSWORD), "{text}");
}

#[tokio::test]
async fn hit_that_its_client_ends_counts_as_the_ordinary_one() {
    let served = Served::new().await;
    served.warm().await;
    drop(served.begin());
    let canceled = "rpc_server_call_duration_seconds_count{\
                    rpc_method=\"ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials\",\
                    rpc_response_status_code=\"CANCELLED\"}";
    assert_eq!(served.scrape(canceled).unwrap(), "1");
}

#[tokio::test]
async fn hit_without_an_audit_log_is_ready_at_its_first_poll() {
    let served = Served::new().await;
    served.warm().await;
    let Verdict::Hit(mut hit) = served.begin() else { panic!("handed over") };
    let mut context = TaskContext::from_waker(Waker::noop());
    assert!(hit.poll(&mut context).is_ready());
    assert!(matches!(hit.poll(&mut context), Poll::Pending));
}
