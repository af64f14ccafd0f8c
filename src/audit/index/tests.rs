use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::audit::reader::Extent;
use crate::audit::record::{Outcome, Record, Time, line};
use crate::audit::{RecordTemplate, StoredRecord};
use crate::request_id::RequestId;

const ARN: &str = "arn:aws:iam::210987654321:role/pull";
const HOST: &str = "210987654321.dkr.ecr.eu-west-1.amazonaws.com";

fn at(second: u32) -> SystemTime {
    seconds(1_796_000_000 + second)
}

fn id(number: u8) -> CredentialId {
    CredentialId::from_bytes([number; 16])
}

/// A release of credential `number`, which expires an hour after `at(number)`.
fn record<'a>(number: u8, caller: &str, session: &str, minted_by: Option<&'a str>) -> Record<'a> {
    Record {
        request_id: RequestId::of(7).to_string(),
        trace_id: None,
        child_request_id: None,
        caller: caller.to_owned(),
        via: Vec::new(),
        proof: "token",
        outcome: Outcome::Released,
        operation: None,
        account_id: None,
        region: Some("eu-west-1"),
        registry: Some(HOST.to_owned()),
        alias: None,
        profile: "pull",
        role_session: Some(session.to_owned()).filter(|name| !name.is_empty()),
        grant: Some("ci"),
        policy: "0123456789abcdef",
        config: "fedcba9876543210",
        credential_id: Some(id(number).to_string()),
        expires: Some(Time(at(number.into()) + Duration::from_hours(1))),
        source: Some("aws"),
        minted_by,
        aws_request_id: Some("aws-1"),
        count: None,
    }
}

fn text(number: u8, caller: &str, second: u32) -> String {
    let record = record(number, caller, "ecr-broker-pull", Some(ARN));
    String::from_utf8(line(&record, at(second)).unwrap()).unwrap()
}

struct Log {
    directory: tempfile::TempDir,
    file: PathBuf,
}

impl Log {
    fn new(text: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("audit.jsonl");
        fs::write(&file, text).unwrap();
        Self { directory, file }
    }

    fn append(&self, text: &str) {
        OpenOptions::new().append(true).open(&self.file).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn open(&self, place: &Place) -> IndexedLogs {
        IndexedLogs::open(std::slice::from_ref(&self.file), place).unwrap()
    }

    fn indexes(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path != &self.file).collect()
    }

    fn find(&self, number: u8) -> Option<Leak> {
        find(&self.open(&Place::Beside), number)
    }
}

fn find(logs: &IndexedLogs, number: u8) -> Option<Leak> {
    logs.find(&HashSet::from([id(number)])).unwrap().remove(&id(number))
}

fn counts(leak: &Leak) -> Vec<(&str, u64)> {
    leak.holders.iter().map(|(holder, held)| (holder.caller.as_str(), held.count)).collect()
}

#[test]
fn credential_has_its_holders_session_and_expiry() {
    let log =
        Log::new([text(1, "uid:1,gid:1", 10), text(2, "loopback", 11), text(1, "loopback", 12)].concat().as_bytes());
    log.append(&text(1, "loopback", 5));
    let leak = log.find(1).unwrap();
    assert_eq!(counts(&leak), [("loopback", 2), ("uid:1,gid:1", 1)]);
    let (holder, held) = leak.holders.first_key_value().unwrap();
    let parts = [&holder.registry, &holder.alias, &holder.grant, &holder.profile].map(String::as_str);
    assert_eq!(parts, [HOST, "", "ci", "pull"]);
    assert_eq!((held.first, held.last), (at(5), at(12)));
    assert_eq!(leak.sessions, BTreeSet::from([Session { minted_by: ARN.into(), name: "ecr-broker-pull".into() }]));
    assert_eq!((leak.expires, leak.expires_is_latest), (Some(at(3_601)), false));
    assert_eq!(log.find(3), None);
}

#[test]
fn index_grows_by_what_the_log_has_grown() {
    let log = Log::new(text(1, "loopback", 1).as_bytes());
    let opened = log.open(&Place::Beside);
    assert_eq!((opened.read_now, opened.extent.records, opened.unkept.len()), (1, 1, 0));
    drop(opened);
    log.append(&text(1, "uid:1,gid:1", 2));
    log.append("{\"kind\":\"audit\",\"time\":\"2026-11-30T10");
    let opened = log.open(&Place::Beside);
    assert_eq!((opened.read_now, opened.extent.records, opened.extent.damaged), (1, 2, 1));
    assert!(opened.extent.damaged_places[0].ends_with("audit.jsonl:3: cannot be parsed"), "{:?}", opened.extent);
    drop(opened);
    // The line is whole now: it is read again.
    log.append(":00:00.000Z\",\"outcome\":\"denied\",\"caller\":\"loopback\"}\n");
    let opened = log.open(&Place::Beside);
    assert_eq!((opened.read_now, opened.extent.records, opened.extent.damaged), (1, 3, 0));
    assert_eq!(counts(&find(&opened, 1).unwrap()), [("loopback", 1), ("uid:1,gid:1", 1)]);
    drop(opened);
    assert_eq!(log.open(&Place::Beside).read_now, 0);
    assert_eq!(log.indexes().len(), 1);
    assert_eq!(fs::metadata(&log.indexes()[0]).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn renamed_log_keeps_its_index_and_a_changed_one_does_not() {
    let mut log = Log::new([text(1, "loopback", 1), text(1, "loopback", 2)].concat().as_bytes());
    log.find(1).unwrap();
    let renamed = log.file.with_file_name("audit.jsonl.1");
    fs::rename(&log.file, &renamed).unwrap();
    log.file = renamed;
    assert_eq!(log.open(&Place::Beside).read_now, 0);
    // Truncated, and written again with the same first line.
    for content in [[text(1, "loopback", 1), text(2, "loopback", 2)].concat(), text(1, "loopback", 1)] {
        fs::write(&log.file, &content).unwrap();
        assert_eq!(log.open(&Place::Beside).read_now, content.lines().count() as u64);
        assert_eq!(log.indexes().len(), 1);
    }
    fs::write(&log.file, text(2, "loopback", 3)).unwrap();
    let opened = log.open(&Place::Beside);
    assert_eq!((opened.read_now, log.indexes().len()), (1, 2));
    assert_eq!((find(&opened, 1), counts(&find(&opened, 2).unwrap())), (None, vec![("loopback", 1)]));
    opened.remove_others();
    assert_eq!(log.indexes().len(), 1);
}

#[test]
fn damaged_index_is_built_again() {
    let log = Log::new(text(1, "loopback", 1).as_bytes());
    log.find(1).unwrap();
    let index = log.indexes().remove(0);
    let whole = fs::read(&index).unwrap();
    for damaged in [b"{}".to_vec(), Vec::new(), whole[..whole.len() - 1].to_vec(), [b"x", &whole[1..]].concat()] {
        fs::write(&index, damaged).unwrap();
        let opened = log.open(&Place::Beside);
        assert_eq!((opened.read_now, counts(&find(&opened, 1).unwrap())), (1, vec![("loopback", 1)]));
    }
    // Blocks beyond the length that counts are those of a run that was killed.
    fs::write(&index, [whole.clone(), vec![7; 1_000]].concat()).unwrap();
    assert_eq!(counts(&log.find(1).unwrap()), [("loopback", 1)]);
    // A block whose numbers lead nowhere is an error, not an answer.
    let mut wrong = whole.clone();
    let length = wrong.len();
    wrong[length - 48..length - 16].fill(0xff);
    fs::write(&index, &wrong).unwrap();
    assert!(log.open(&Place::Beside).find(&HashSet::from([id(1)])).is_err());
    wrong[header::SIZE..header::SIZE + 12].fill(0xff);
    fs::write(&index, &wrong).unwrap();
    assert!(log.open(&Place::Beside).find(&HashSet::from([id(1)])).is_err());
}

#[test]
fn index_that_may_be_another_users_is_not_used() {
    let log = Log::new(text(1, "loopback", 1).as_bytes());
    log.find(1).unwrap();
    let (index, other) = (log.indexes().remove(0), log.directory.path().join("other"));
    fs::rename(&index, &other).unwrap();
    let before = fs::read(&other).unwrap();
    for is_hard in [false, true] {
        if is_hard {
            fs::hard_link(&other, &index).unwrap();
        } else {
            std::os::unix::fs::symlink(&other, &index).unwrap();
        }
        log.append(&text(1, "loopback", 2));
        let opened = log.open(&Place::Beside);
        assert!(opened.unkept[0].starts_with("cannot keep an index of "), "{:?}", opened.unkept);
        assert_eq!(opened.read_now, opened.extent.records);
        assert!(find(&opened, 1).is_some());
        assert_eq!(fs::read(&other).unwrap(), before);
        fs::remove_file(&index).unwrap();
    }
    let opened = log.open(&Place::Directory(PathBuf::from("/no/such/directory")));
    assert!(opened.unkept[0].contains("No such file"), "{:?}", opened.unkept);
    assert!(log.open(&Place::Nowhere).unkept.is_empty());
}

#[test]
fn log_that_is_named_twice_does_not_wait_for_itself() {
    let log = Log::new(text(1, "loopback", 1).as_bytes());
    let twice = [log.file.clone(), log.file.clone()];
    for read_now in [2, 1] {
        let opened = IndexedLogs::open(&twice, &Place::Beside).unwrap();
        assert_eq!((opened.read_now, opened.extent.records, opened.unkept.len()), (read_now, 2, 0));
        assert_eq!(counts(&find(&opened, 1).unwrap()), [("loopback", 2)]);
    }
}

#[test]
fn too_many_holders_are_cut_and_the_answer_says_so() {
    let many: String = (0..=MAX_ANSWER).map(|number| text(1, &format!("uid:{number},gid:1"), 1)).collect();
    let log = Log::new(many.as_bytes());
    let opened = log.open(&Place::Nowhere);
    let leak = find(&opened, 1).unwrap();
    assert_eq!((leak.holders.len(), leak.has_more), (MAX_ANSWER, true));
    let reached = opened.reach(&leak.sessions, at(1)).unwrap();
    let Reaches { of_session, of_role } = reached.values().next().unwrap();
    assert_eq!((of_session.credentials, of_role.callers.len(), of_role.has_more), (1, MAX_ANSWER, true));
}

#[test]
fn compressed_log_is_indexed_once() {
    let log = Log::new(b"");
    let write = |text: &str| {
        let mut gzip = GzEncoder::new(fs::File::create(&log.file).unwrap(), Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap();
    };
    write(&text(1, "loopback", 1));
    assert_eq!(log.open(&Place::Beside).read_now, 1);
    let opened = log.open(&Place::Beside);
    assert_eq!((opened.read_now, counts(&find(&opened, 1).unwrap())), (0, vec![("loopback", 1)]));
    drop(opened);
    write(&[text(1, "loopback", 1), text(2, "loopback", 2)].concat());
    assert_eq!(log.open(&Place::Beside).read_now, 2);
}

#[test]
fn revocation_reaches_the_holders_of_the_session_and_of_the_role() {
    let write = |number, caller: &str, session: &str, arn: Option<&str>| {
        String::from_utf8(line(&record(number, caller, session, arn), at(1)).unwrap()).unwrap()
    };
    let other = "arn:aws:iam::210987654321:role/push";
    let log = Log::new(
        [
            write(1, "a", "s1", Some(ARN)),
            write(1, "b", "s1", Some(ARN)),
            write(2, "c", "s2", Some(ARN)),
            write(3, "d", "s1", Some(other)),
            // The same credential, before AWS has named the role.
            write(2, "e", "", None),
            write(9, "f", "", None),
        ]
        .concat()
        .as_bytes(),
    );
    let session = |name: &str| Session { minted_by: ARN.into(), name: name.into() };
    let sessions = BTreeSet::from([session("s1"), session("s2")]);
    let reach = |credentials, callers: &[&str]| Reach {
        credentials,
        callers: callers.iter().map(ToString::to_string).collect(),
        has_more: false,
    };
    let of_role = reach(2, &["a", "b", "c", "e"]);
    let found = log.open(&Place::Nowhere).reach(&sessions, at(100)).unwrap();
    assert_eq!(found[&session("s1")], Reaches { of_session: reach(1, &["a", "b"]), of_role: of_role.clone() });
    assert_eq!(found[&session("s2")], Reaches { of_session: reach(1, &["c", "e"]), of_role });
    // Credential 1 has expired an hour later, and 2 a second after it.
    let found = log.open(&Place::Nowhere).reach(&sessions, at(3_601)).unwrap();
    assert_eq!(found[&session("s1")], Reaches { of_session: reach(0, &[]), of_role: reach(1, &["c", "e"]) });
}

#[test]
fn records_are_damaged_as_for_other_readers() {
    let good = text(1, "loopback", 1);
    let lines = [
        good.clone(),
        good.replace("\"time\":\"2026", "\"time\":\"year"),
        good.replace(&id(1).to_string(), "00ff"),
        good.replace("\"registry\":", "\"other\":"),
        good.replace("\"expires\":\"2026", "\"expires\":\"year"),
        good.replace("\"caller\":\"loopback\"", "\"caller\":1"),
        format!("{{\"kind\":\"audit\",\"caller\":\"{}\"}}\n", "x".repeat(100_000)),
        good.replace("\"kind\":\"audit\"", "\"kind\":\"other\",\"x\":\"audit\""),
        "broker started\n".to_owned(),
    ];
    let log = Log::new(lines.concat().as_bytes());
    let opened = log.open(&Place::Beside);
    let problems: Vec<_> = opened
        .extent
        .damaged_places
        .iter()
        .map(|place| place.split_once("audit.jsonl:").unwrap().1.to_owned())
        .collect();
    assert_eq!(
        problems,
        [
            "2: has no valid time",
            "3: has no valid credential_id",
            "4: has no registry",
            "5: has no valid expires",
            "6: cannot be parsed",
            "7: longer than any record"
        ]
    );
    assert_eq!((opened.extent.records, opened.extent.damaged), (1, 6));
    drop(opened);
    // They are named once and count always.
    let opened = log.open(&Place::Beside);
    assert_eq!((opened.extent.damaged_places.len(), opened.extent.damaged), (0, 6));
    assert_eq!(log.open(&Place::Nowhere).extent.damaged_places.len(), 6);
}

#[test]
fn record_without_an_expiry_counts_for_as_long_as_aws_issues() {
    let without = |second| {
        let record = Record { expires: None, ..record(1, "loopback", "", None) };
        String::from_utf8(line(&record, at(second)).unwrap()).unwrap()
    };
    let log = Log::new([without(60), without(10)].concat().as_bytes());
    let leak = log.find(1).unwrap();
    assert_eq!((leak.expires, leak.expires_is_latest), (Some(at(10) + LONGEST_VALIDITY), true));
    log.append(&text(1, "loopback", 70));
    let leak = log.find(1).unwrap();
    assert_eq!((leak.expires, leak.expires_is_latest), (Some(at(3_601)), false));
    assert_eq!(leak.sessions.len(), 1);
}

/// Any log: lines of templates and others, in blocks and runs of any size, against a simple model.
#[test]
fn index_of_any_log_is_that_of_a_simple_model() {
    let mut random = fastrand::Rng::with_seed(20);
    for round in 0..60 {
        let log = Log::new(b"");
        let mut expected = BTreeMap::<(u8, String), u64>::new();
        for _ in 0..random.usize(1..6) {
            let mut lines = String::new();
            for _ in 0..random.usize(0..80) {
                let number = random.u8(1..4);
                let caller = *random.choice(&["loopback", "uid:1,gid:1", "jwt:ci:\"q\" ü", "aws-api"]).unwrap();
                let mut record = record(number, caller, "s", Some(ARN));
                record.outcome = *random.choice(&[Outcome::Released, Outcome::Observed, Outcome::Denied]).unwrap();
                record.operation = random.choice([None, None, Some("status")]).unwrap();
                let (time, request) = (at(random.u32(0..5)), RequestId::of(random.u128(..)));
                let is_release = record.outcome != Outcome::Denied && record.operation.is_none();
                record.count = std::num::NonZeroUsize::new(random.usize(0..3));
                let count = record.count.map_or(1, |count| count.get() as u64);
                let trace = random.bool().then(|| opentelemetry::trace::TraceId::from(random.u128(..)));
                record.child_request_id = random.bool().then(|| RequestId::of(random.u128(..)).to_string());
                let template = RecordTemplate::new(record).unwrap();
                lines += std::str::from_utf8(&template.line(time, request, trace)).unwrap();
                if is_release {
                    *expected.entry((number, caller.to_owned())).or_default() += count;
                }
                lines += random.choice(["", "", "\n", "{\"level\":\"INFO\"}\n"]).unwrap();
            }
            log.append(&lines);
            drop(log.open(&Place::Beside));
        }
        for place in [Place::Beside, Place::Nowhere] {
            let opened = log.open(&place);
            let found = opened.find(&(1..4).map(id).collect()).unwrap();
            let found: BTreeMap<_, _> = found
                .iter()
                .flat_map(|(one, leak)| {
                    counts(leak).into_iter().map(|(caller, count)| ((one.to_bytes()[0], caller.to_owned()), count))
                })
                .collect();
            assert_eq!(found, expected, "round {round}, {place:?}");
            let mut parsed = 0;
            let read = Extent::read(std::slice::from_ref(&log.file), |record: &StoredRecord| {
                parsed += u64::from(record.is_release());
                Ok(())
            });
            assert_eq!(read.unwrap().records, opened.extent.records);
        }
    }
}
