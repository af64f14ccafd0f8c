use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::memory::MAX_ENTRIES;
use super::subject::Group;
use super::*;
use crate::audit::test_disk::Disk;
use crate::audit::{Outcome, Proof, Unauthenticated};
use crate::caller::Principal;
use crate::limits::Origin;
use crate::moment::Moment;

/// A clock that stands still until it is advanced.
#[derive(Debug, Default)]
struct Still(Mutex<Duration>);

impl Clock for Still {
    fn now(&self) -> Moment {
        Moment { wall: SystemTime::UNIX_EPOCH, steady: *self.0.lock().unwrap() }
    }
}

/// A recorder of ten records per second on a disk without an end.
struct Recorded {
    clock: Arc<Still>,
    disk: Disk,
    recorder: RejectionRecorder,
}

impl Recorded {
    fn new() -> Self {
        let (clock, disk) = (Arc::new(Still::default()), Disk::with_room(u64::MAX));
        let audit = disk.audit_log(1_000, clock.clone());
        let recorder =
            RejectionRecorder::new(NonZeroU32::new(10).unwrap(), Some(audit), clock.clone(), &mut Registry::default());
        Self { clock, disk, recorder }
    }

    fn advance(&self, time: Duration) {
        *self.clock.0.lock().unwrap() += time;
    }

    /// Rejects `count` times; returns how many have a record each. In the tests all have the same text.
    async fn reject(&self, count: usize, subject: &Subject, kind: Kind) -> usize {
        let mut recorded = 0;
        for _ in 0..count {
            let Some(admitted) = self.recorder.admit(subject.clone(), kind) else { continue };
            recorded += 1;
            let record = Unauthenticated {
                request_id: None,
                trace_id: None,
                outcome: Outcome::Unauthenticated,
                origin: "one".into(),
                via: Vec::new(),
                proof: Proof::None,
                reason: "",
            };
            self.recorder.queue(&admitted, &record).unwrap().written().await;
        }
        recorded
    }

    /// Flushes, and returns the records with counts since the last time.
    async fn counts(&self) -> Vec<Value> {
        let before = self.disk.text().len();
        self.recorder.flush().await;
        self.disk.text()[before..].lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn user(uid: u32) -> Subject {
    Subject::Caller(Principal::Uid(uid))
}

fn address(last: u8) -> Subject {
    Subject::Origin(Origin::of([192, 0, 2, last].into()))
}

const NO_PROOF: Kind = Kind::Unauthenticated(Proof::None, "present a certificate");

#[tokio::test]
async fn denials_above_the_rate_become_one_record_with_their_count() {
    let recorded = Recorded::new();
    assert_eq!(recorded.reject(1_000, &user(1), Kind::Denied).await, 10);
    assert_eq!(recorded.reject(3, &user(2), Kind::Denied).await, 3, "another caller");
    recorded.advance(Duration::from_secs(1));
    assert_eq!(recorded.reject(1_000, &user(1), Kind::Denied).await, 10);
    let counts = recorded.counts().await;
    assert_eq!(counts.len(), 1, "{counts:?}");
    assert_eq!((&counts[0]["caller"], &counts[0]["outcome"]), (&"uid:1".into(), &"denied".into()));
    assert_eq!(counts[0]["count"], 1_980);
    assert!(recorded.counts().await.is_empty());
}

#[tokio::test]
async fn stranger_has_a_record_a_minute_with_its_proof_and_reason() {
    let recorded = Recorded::new();
    assert_eq!(recorded.reject(500, &address(1), NO_PROOF).await, 1);
    assert_eq!(recorded.reject(1, &address(2), NO_PROOF).await, 1);
    let bad_token = Kind::Unauthenticated(Proof::Token, "bearer token has expired");
    assert_eq!(recorded.reject(500, &address(1), bad_token).await, 1, "another reason");
    let mut counts = recorded.counts().await;
    counts.sort_by_key(|count| count["proof"].to_string());
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!(counts.iter().all(|count| count["origin"] == "192.0.2.1" && count["count"] == 499));
    assert_eq!((&counts[1]["proof"], &counts[1]["reason"]), (&"token".into(), &"bearer token has expired".into()));
    recorded.advance(FLUSH_INTERVAL);
    assert_eq!(recorded.reject(500, &address(1), NO_PROOF).await, 1);
}

#[tokio::test]
async fn caller_s_mistakes_have_a_line_a_minute_and_failures_ten_a_second() {
    let recorded = Recorded::new();
    assert_eq!(recorded.reject(100, &user(1), Kind::Refused("REQUEST_INVALID")).await, 1);
    assert_eq!(recorded.reject(100, &user(1), Kind::Refused("OVERLOADED")).await, 1);
    assert_eq!(recorded.reject(100, &user(1), Kind::Failed("AWS_ACCESS_DENIED")).await, 10);
    assert_eq!(recorded.counts().await, [] as [Value; 0], "only the log counts them");
}

#[tokio::test]
async fn callers_of_a_group_together_have_250_records_a_second() {
    let recorded = Recorded::new();
    let mut records = 0;
    for uid in 0..150 {
        records += recorded.reject(20, &user(uid), Kind::Denied).await;
    }
    assert_eq!(records, 250);
    let counts = recorded.counts().await;
    let counted: u64 = counts.iter().filter_map(|count| count["count"].as_u64()).sum();
    assert_eq!((counts.len(), counted), (150, 2_750));
}

#[tokio::test]
async fn remembered_subjects_are_bounded_and_strangers_displace_no_caller() {
    let recorded = Recorded::new();
    for number in 0..u32::try_from(MAX_ENTRIES).unwrap() + 1_000 {
        let origin = Subject::Origin(Origin::of(std::net::Ipv4Addr::from_bits(number).into()));
        _ = recorded.recorder.admit(origin, NO_PROOF);
    }
    assert_eq!(recorded.reject(1, &user(1), Kind::Denied).await, 1);
    let counts = recorded.counts().await;
    assert!(counts.len() <= MAX_ENTRIES + 1, "{}", counts.len());
    let rest: Vec<_> = counts.iter().filter(|count| count.get("origin").is_none()).collect();
    assert!(rest.len() == 1 && rest[0]["count"] == 1_000, "{rest:?}");
    recorded.advance(FLUSH_INTERVAL);
    _ = recorded.counts().await;
    assert_eq!(recorded.reject(1, &address(1), NO_PROOF).await, 1, "idle ones were forgotten");
}

/// A flood by the subjects of an issuer, of a trust domain, or of users: the callers of other groups keep their records by name.
#[tokio::test]
async fn flood_of_a_group_leaves_the_records_of_others_by_name() {
    let token = |issuer: &str, number: u32| {
        let (issuer, subject) = (issuer.into(), format!("job-{number}").into());
        Subject::Caller(Principal::Token { issuer, subject })
    };
    let workload = |domain: &str, number: u32| {
        let id = spiffe::SpiffeId::new(format!("spiffe://{domain}/{number}")).unwrap();
        Subject::Caller(Principal::Spiffe(Arc::new(id)))
    };
    let floods: [(&str, &dyn Fn(u32) -> Subject); 3] = [
        ("jwt:evil", &|number| token("evil", number)),
        ("spiffe://evil.example", &|number| workload("evil.example", number)),
        ("local", &|number| user(number)),
    ];
    for (group, subject) in floods {
        let recorded = Recorded::new();
        for number in 0..4_200 {
            _ = recorded.recorder.admit(subject(number), Kind::Denied);
        }
        let honest = [user(1), token("blue", 1), workload("prod.example", 1)];
        let others = honest.iter().filter(|one| Group::of(one) != Group::of(&subject(0)));
        for caller in others.clone() {
            assert_eq!(recorded.reject(18, caller, Kind::Denied).await, 10, "{group}: {caller:?}");
        }
        let counts = recorded.counts().await;
        for caller in others {
            let count = counts.iter().find(|count| count["caller"] == caller.caller().unwrap()).unwrap();
            assert_eq!(count["count"], 8, "{group}: {caller:?}");
        }
        let rest: Vec<_> = counts.iter().filter(|count| count.get("caller").is_none()).collect();
        assert!(rest.len() == 1 && rest[0]["callers"] == group, "{rest:?}");
        assert_eq!(rest[0]["count"], 4_200 - MAX_ENTRIES);
    }
}

#[tokio::test]
async fn count_that_cannot_be_written_is_kept_until_there_is_space() {
    let recorded = Recorded::new();
    recorded.disk.set_free(0);
    recorded.reject(100, &user(1), Kind::Denied).await;
    assert!(recorded.counts().await.is_empty());
    assert!(recorded.counts().await.is_empty());
    recorded.disk.set_free(1_000_000);
    let counts = recorded.counts().await;
    assert!(counts.len() == 1 && counts[0]["count"] == 100, "{counts:?}");
}
