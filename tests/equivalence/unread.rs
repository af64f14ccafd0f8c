//! Answers that their client does not read.

use std::sync::Arc;

use crate::call::{Call, Target};
use crate::proofs::Proofs;
use crate::side::Side;
use crate::steps::one;
use crate::wire::Wire;
use crate::world::World;

#[tokio::test]
async fn p8_unread_answers_count_as_in_flight_alike() {
    let (proofs, call) = (Arc::new(Proofs::new()), Call::plain(Target::Host(0)));
    for fast_path in [true, false] {
        let mut side = Side::start(&World::of(Vec::new()), &proofs, fast_path);
        for _ in 0..3 {
            one(&mut side, 0, &call).await;
        }
        side.until_admitted(0).await;
        let (wire, mut unread) = (Wire::without_room(&side.socket()).await, Vec::new());
        for count in 1..5 {
            unread.push(wire.clone().call_unread(side.request(&call)).await);
            assert_eq!(side.admitted(), count, "with the fast path: {fast_path}");
        }
        drop((wire, unread));
        side.until_admitted(0).await;
    }
}
