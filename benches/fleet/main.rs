//! Sizes a farm: calls to AWS, cold starts and memory of a fleet of brokers, by a discrete-event model.
//!
//! `cargo run --example fleet -- --nodes 500`. `docs/scaling.md` has the tables and what they mean; `tests/scaling.rs` compares the
//! model with brokers that run.

#![allow(clippy::print_stdout, reason = "the table is the output")]

use clap::Parser as _;

use self::arguments::Arguments;
use self::model::{Scope, Shape, simulate};

mod arguments;
#[path = "model.rs"]
mod model;
mod table;

fn main() {
    let farm = Arguments::parse().farm();
    println!("{}", table::heading(&farm));
    for shape in Shape::ALL {
        for scope in [Scope::Account, Scope::Identity] {
            println!("{}", table::row(&farm, shape, scope, &simulate(&farm, shape, scope)));
        }
    }
}
