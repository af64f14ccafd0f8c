mod direct;
mod unrecorded;

use super::test_disk::Disk;
use super::*;
use crate::clock::SystemClock;

const RESERVE: u64 = 10_000;

fn record(outcome: Outcome) -> Record<'static> {
    Record {
        request_id: "id".into(),
        trace_id: None,
        child_request_id: None,
        caller: "uid:1001,gid:1001".into(),
        via: Vec::new(),
        proof: "kernel",
        outcome,
        operation: None,
        account_id: None,
        region: None,
        registry: None,
        alias: None,
        profile: "",
        role_session: None,
        grant: None,
        policy: "policy",
        config: "",
        credential_id: None,
        expires: None,
        source: None,
        minted_by: None,
        aws_request_id: None,
        count: None,
    }
}

/// Writes a denial. Returns whether it has a record, else it is counted.
async fn deny(audit: &AuditLog) -> bool {
    let unwritten = Arc::default();
    let written = audit.queue_rejection(&record(Outcome::Denied), &unwritten).written().await;
    assert_eq!(unwritten.load(Ordering::Relaxed), u64::from(!written));
    written
}

async fn release(audit: &AuditLog) -> bool {
    release_to(audit, "uid:1001,gid:1001").await
}

async fn release_to(audit: &AuditLog, caller: &str) -> bool {
    audit.write(&record(Outcome::Released), &caller.parse().unwrap()).await.is_ok()
}

#[tokio::test]
async fn p11_full_disk_stops_denials_first_and_recovers_without_a_restart() {
    let disk = Disk::with_room(RESERVE + 100);
    let audit = disk.audit_log(RESERVE, Arc::new(SystemClock::new()));
    assert!(deny(&audit).await && !deny(&audit).await, "the first denial reaches the reserve");
    let mut released = 0;
    while release(&audit).await {
        released += 1;
    }
    assert!(released > 50, "{released} releases fit into the reserve");
    assert!(!deny(&audit).await && !release(&audit).await);

    disk.set_free(RESERVE / 2);
    assert!(release(&audit).await && !deny(&audit).await, "releases first");
    disk.set_free(2 * RESERVE);
    assert!(deny(&audit).await && release(&audit).await);

    let text = disk.text();
    let (whole, cut): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.ends_with('}'));
    let of = |outcome: &str| whole.iter().filter(|line| line.contains(outcome)).count();
    assert_eq!((of("denied"), of("released")), (2, released + 2));
    assert!(cut.len() == 1 && whole.iter().all(|line| line.starts_with("{\"kind\":\"audit\"")), "{text}");
}

#[tokio::test]
async fn rejections_beyond_the_queue_are_counted_and_delay_no_release() {
    let disk = Disk::with_room(u64::MAX);
    let audit = disk.audit_log(0, Arc::new(SystemClock::new()));
    let unwritten = Arc::default();
    let all = Arc::clone(&audit.0.rejections).acquire_many_owned(64).await.unwrap();
    let queued = audit.queue_rejection(&record(Outcome::Denied), &unwritten);
    assert!(!queued.written().await && release(&audit).await);
    drop(all);
    let count = Count {
        outcome: Outcome::Denied,
        caller: None,
        callers: None,
        origin: None,
        proof: None,
        reason: None,
        count: 7,
    };
    assert!(audit.queue_count(&count, &unwritten).written().await);
    assert_eq!(unwritten.load(Ordering::Relaxed), 1);
    assert!(disk.text().ends_with("\"outcome\":\"denied\",\"count\":7}\n"), "{}", disk.text());
}

/// A flood of one caller's releases reaches the reserve: the others' go on.
#[tokio::test]
async fn p11_flood_of_releases_leaves_the_reserve_to_other_callers() {
    const RESERVE: u64 = 1024 * 1024;
    let disk = Disk::with_room(RESERVE - 1);
    let audit = disk.audit_log(RESERVE, Arc::new(SystemClock::new()));
    let mut flooded = 0;
    while release(&audit).await {
        flooded += 1;
    }
    assert!(disk.free() > RESERVE * 3 / 4, "{flooded} records left {} bytes", disk.free());
    for caller in ["uid:1002,gid:1001", "loopback", "jwt:ci:a"] {
        for _ in 0..100 {
            assert!(release_to(&audit, caller).await, "{caller}");
        }
    }
    assert!(!release(&audit).await, "the flood stays refused");
    disk.set_free(2 * RESERVE);
    assert!(release(&audit).await, "until the space has returned");
}

/// A full queue delays releases and refuses none, so that a flood of one caller does not refuse those of others.
#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the thread of the writer waits for it, not this task")]
async fn p11_releases_wait_for_a_full_queue_instead_of_failing() {
    let disk = Disk::with_room(u64::MAX);
    let audit = disk.audit_log(0, Arc::new(SystemClock::new()));
    let held = disk.hold();
    let many = queue::MAX_QUEUED + 1_000;
    let writes: Vec<_> = (0..many)
        .map(|_| {
            let audit = audit.clone();
            tokio::spawn(async move { release(&audit).await })
        })
        .collect();
    while !audit.turns().queue.is_full() {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    drop(held);
    for write in writes {
        assert!(write.await.unwrap());
    }
    assert_eq!(disk.text().lines().count(), many);
}
