//! Credentials that are released while the audit log fails (`audit.on_failure = "release"`): their records wait, and are written once
//! each when it works again.

use std::collections::BTreeSet;

use crate::call::{Call, Target};
use crate::outages::{Both, contains};
use crate::world::World;

/// Bytes of records that may wait: several records, but not one of each call.
const BUFFER: u64 = 6_000;
/// Calls while the log fails.
const CALLS: usize = 24;

/// Returns the registry of each call. No part of the order repeats within a few calls.
fn registries(count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(|call| call * call % 7 % 3)
}

#[tokio::test]
async fn p11_records_wait_and_are_written_alike_with_and_without_fast_path() {
    for workers in [2, 1] {
        let world = World { buffer: Some(BUFFER), workers, ..World::of(Vec::new()) };
        let mut both = Both::start(&world, None);
        let calls: Vec<_> = (0..3).map(|number| Call::plain(Target::Host(number))).collect();
        for call in &calls {
            assert!(contains(&both.call(call, 3).await, "grpc-status 0"));
        }
        let hosts: Vec<_> = {
            let records = both.0[0].records().into_iter();
            records.step_by(3).map(|record| record["registry"].clone()).collect()
        };
        let mut kept = 0;
        for side in &mut both.0 {
            side.set_audit(false).await;
        }
        for (made, number) in registries(CALLS).enumerate() {
            // Both sides have the same metrics, as `call` compares.
            assert!(contains(&both.call(&calls[number], 1).await, "grpc-status 0"));
            let [waiting, lost] = [both.0[0].waiting_records(), both.0[0].lost_records()];
            assert_eq!(waiting + lost, made + 1);
            kept = waiting;
        }
        assert!(kept > 2 && kept < CALLS - 2, "{kept} records fill the buffer");
        for side in &mut both.0 {
            side.set_audit(true).await;
            let records = side.records();
            // The buffer is full from a call on, and records of one size are all that it has.
            let written: Vec<_> = records.iter().map(|record| record["registry"].clone()).collect();
            let expected: Vec<_> = registries(kept).map(|number| hosts[number].clone()).collect();
            assert_eq!(written, expected, "in the order of the releases");
            let ids: BTreeSet<_> = records.iter().map(|record| record["request_id"].to_string()).collect();
            assert_eq!(ids.len(), kept, "each once");
        }
        assert!(contains(&both.call(&calls[0], 3).await, "grpc-status 0"));
        for side in &both.0 {
            assert_eq!((side.records().len(), side.waiting_records()), (kept + 3, 0));
        }
    }
}
