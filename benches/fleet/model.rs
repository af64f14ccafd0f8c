//! Discrete-event model of a fleet of brokers, its calls to AWS and its memory. One seed, one outcome.
//!
//! The model has what decides the number and the times of calls: caches with refresh ahead, single flight, the adaptive limit and
//! the pacing of calls to a region, failure backoff, role sessions, quotas as token buckets, central brokers with unary calls or
//! watches, and the shared tier's leases. Its constants are measured figures (`figures.rs`) or those of the broker's source.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of nodes, keys and seconds"
)]

// The paths are the same wherever this file is a module: in the example and in its test.
#[path = "model/admission.rs"]
mod admission;
#[path = "model/aws.rs"]
mod aws;
#[path = "model/event.rs"]
mod event;
#[path = "model/farm.rs"]
mod farm;
#[path = "model/fetcher.rs"]
mod fetcher;
#[path = "model/figures.rs"]
mod figures;
#[path = "model/memory.rs"]
mod memory;
#[path = "model/outcome.rs"]
mod outcome;
#[path = "model/plan.rs"]
mod plan;
#[path = "model/random.rs"]
mod random;
#[path = "model/tier.rs"]
mod tier;
#[path = "model/world.rs"]
mod world;

pub(crate) use self::farm::{Farm, Identity, Quotas, Scope, Shape};
pub(crate) use self::outcome::{Calls, Outcome};
pub(crate) use self::world::simulate;
