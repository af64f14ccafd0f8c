//! Sequences by hand, for rules that random ones seldom reach.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Call, Target, Twist};
use crate::compare;
use crate::proofs::Proofs;
use crate::world::{Step, World};

/// The connection whose certificate expires after three hours.
const RUNNER: usize = 2;

fn runs_alike(world: &World) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(compare(world, &Arc::new(Proofs::new()))).unwrap();
}

fn host(number: usize) -> Call {
    Call::plain(Target::Host(number))
}

fn with(twist: Twist) -> Call {
    Call { twists: vec![twist], ..host(0) }
}

#[test]
fn p3_credential_ends_alike_before_its_refresh() {
    // It ends for calls after 15 minutes, and its refresh is due after 25.
    let safety_margin = Duration::from_mins(35);
    runs_alike(&World { safety_margin, ..World::of(vec![Step::ShortLived(0, host(0))]) });
    // The same of a call that needs more than the margin.
    runs_alike(&World::of(vec![Step::ShortLived(0, with(Twist::MinValidity(2_400)))]));
}

#[test]
fn certificate_expires_alike_between_hits() {
    // No refresh is due when it expires.
    let steps = vec![
        Step::Advance(17),
        Step::AfterHits(RUNNER, host(0)),
        Step::Advance(2),
        Step::Calls(RUNNER, vec![host(0), host(0)]),
    ];
    runs_alike(&World { has_tls: true, ..World::of(steps) });
}

#[test]
fn record_has_the_trace_of_its_call_alike() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    runs_alike(&World::of(vec![Step::AfterHits(0, with(Twist::Header("traceparent", trace.to_owned())))]));
}

/// In a cache of two, the third registry evicts the one that was used least recently.
#[test]
fn p8_least_recently_used_credential_is_evicted_alike() {
    let warm = [host(0), host(0), host(1), host(1)];
    // Of the same registry, and not answered before.
    let ordinary = Call { twists: vec![Twist::UnknownField], ..host(1) };
    for uses in [vec![host(0), host(1)], vec![host(0), host(1), host(0)], vec![host(0), ordinary]] {
        let calls = [warm.as_slice(), &uses, &[host(2)]].concat();
        runs_alike(&World { capacity: 2, ..World::of(vec![Step::Calls(0, calls)]) });
    }
}
