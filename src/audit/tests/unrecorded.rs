//! Releases whose records cannot be written, with `audit.on_failure = "release"`.

use super::*;

const RELEASE: OnFailure = OnFailure::Release { buffer: 1 << 20 };

fn audit_log(disk: &Disk, on_failure: OnFailure) -> AuditLog {
    disk.audit_log_with((0, on_failure), Arc::new(SystemClock::new()))
}

/// Releases one credential for each number, whose records have these lines.
async fn release_all(audit: &AuditLog, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let batch = audit.batch();
        let queued = batch.add(format!("{number}\n").into_bytes(), Caller::Loopback);
        batch.commit();
        assert!(queued.written().await, "{number}");
    }
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.flat_map(|number| [number.to_string(), "\n".to_owned()]).collect()
}

#[tokio::test]
async fn unwritten_records_wait_and_are_written_in_their_order() {
    let disk = Disk::with_room(0);
    let audit = audit_log(&disk, RELEASE);
    release_all(&audit, 0..600).await;
    assert!(!deny(&audit).await, "only releases wait");
    let status = audit.status();
    assert_eq!((status.buffered, status.lost, status.written, status.is_failing), (600, 0, 0, true));
    disk.set_free(u64::MAX);
    release_all(&audit, 600..700).await;
    while audit.status().buffered > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(disk.text(), lines(0..700));
    assert_eq!((audit.status().written, audit.status().is_failing), (700, false));
}

#[tokio::test]
async fn unwritten_records_are_tried_again_without_further_requests() {
    let disk = Disk::with_room(0);
    let audit = audit_log(&disk, RELEASE);
    release_all(&audit, 0..5).await;
    disk.set_free(u64::MAX);
    while audit.status().buffered > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(disk.text(), lines(0..5));
}

#[tokio::test]
async fn buffer_of_unwritten_records_is_bounded_and_losses_are_counted() {
    let disk = Disk::with_room(0);
    let audit = audit_log(&disk, OnFailure::Release { buffer: 10 * (2 + 24) });
    release_all(&audit, 0..15).await;
    assert_eq!((audit.status().buffered, audit.status().lost), (10, 5));
    disk.set_free(u64::MAX);
    audit.settle().await;
    assert_eq!((disk.text(), audit.status().buffered), (lines(0..10), 0));
}

/// The disk takes one line and a part of the next.
#[tokio::test]
async fn records_of_a_write_that_was_cut_short_are_not_repeated() {
    let disk = Disk::with_room(6);
    let audit = audit_log(&disk, RELEASE);
    let batch = audit.batch();
    let add = |number: usize| batch.add(format!("{number}\n").into_bytes(), Caller::Loopback);
    let queued: Vec<_> = (100..104).map(add).collect();
    batch.commit();
    for queued in queued {
        assert!(queued.written().await);
    }
    assert_eq!((disk.text().as_str(), audit.status().buffered), ("100\n10", 3));
    disk.set_free(7);
    release_all(&audit, 104..105).await;
    disk.set_free(u64::MAX);
    audit.settle().await;
    let text = disk.text();
    let whole: String = text.lines().filter(|line| line.len() == 3).flat_map(|line| [line, "\n"]).collect();
    assert_eq!(whole, lines(100..105), "{text}");
}

#[tokio::test(start_paused = true)]
#[expect(clippy::await_holding_lock, reason = "the thread of the writer waits for it, not this task")]
async fn hung_write_delays_the_first_releases_and_no_later_one() {
    let disk = Disk::with_room(u64::MAX);
    let audit = audit_log(&disk, RELEASE);
    let held = disk.hold();
    let began = tokio::time::Instant::now();
    release_all(&audit, 0..1).await;
    assert_eq!(began.elapsed().as_secs(), 2);
    release_all(&audit, 1..500).await;
    assert!(release(&audit).await, "the ordinary path");
    assert_eq!(began.elapsed().as_secs(), 2);
    drop(held);
    while audit.status().written < 501 {
        tokio::task::yield_now().await;
    }
    assert!(disk.text().starts_with(&lines(0..500)));
    assert_eq!(audit.status().lost, 0);
}

/// What finds no room while a write hangs is lost, and nothing grows.
#[tokio::test(start_paused = true)]
#[expect(clippy::await_holding_lock, reason = "the thread of the writer waits for it, not this task")]
async fn full_queue_of_a_hung_write_loses_records_and_counts_them() {
    const MORE: usize = 50;
    let disk = Disk::with_room(u64::MAX);
    let audit = audit_log(&disk, RELEASE);
    let held = disk.hold();
    release_all(&audit, 0..1).await;
    while !audit.turns().queue.is_full() {
        release_all(&audit, 0..1).await;
    }
    assert_eq!(audit.status().lost, 0);
    release_all(&audit, 0..MORE).await;
    assert!(release(&audit).await, "the ordinary path");
    assert_eq!(audit.status().lost, MORE as u64 + 1);
    drop(held);
    while audit.status().queued > 0 {
        tokio::task::yield_now().await;
    }
    release_all(&audit, 0..1).await;
}

/// A flood of one caller's releases uses up its share of the reserve. It goes on, and its records leave the space to others.
#[tokio::test]
async fn releases_beyond_their_share_of_the_reserve_wait_for_space() {
    const RESERVE: u64 = 1024 * 1024;
    let disk = Disk::with_room(RESERVE - 1);
    let audit = disk.audit_log_with((RESERVE, RELEASE), Arc::new(SystemClock::new()));
    while audit.status().buffered < 100 {
        assert!(release(&audit).await);
    }
    assert!(disk.free() > RESERVE / 2 && !audit.status().is_failing);
    let written = audit.status().written;
    assert!(release_to(&audit, "loopback").await);
    assert_eq!((audit.status().written, audit.status().buffered), (written + 1, 100));
    disk.set_free(10 * RESERVE);
    audit.settle().await;
    assert_eq!((audit.status().buffered, audit.status().lost), (0, 0));
}
