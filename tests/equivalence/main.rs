//! The fast path against the ordinary one: a broker with it and a broker without it, under the same random sequences.
//!
//! Each broker has its own source and clock, which follow the same script. After every step the answers, the audit records, the
//! spans, the metrics, the cache's state and the calls of the source are compared. Request IDs, random spread and measured time are left
//! out.
//!
//! `EQUIVALENCE_CASES=NUMBER` tries more sequences, of `EQUIVALENCE_STEPS` steps at most. `EQUIVALENCE_SHRINKS=0` shows a difference
//! without a search for the shortest sequence that has it.
//!
//! Each rule of the fast path was removed once, to see which test fails. `sequences.rs`, `outages.rs` and `released.rs` have the rules that
//! random sequences seldom reach, and `src/api/grpc/fast_path/tests.rs` those that no sequence shows. These are second lines of defence,
//! which no test can show, because a first line holds before them:
//!
//! | second line | first line |
//! |---|---|
//! | no fast answer while audit writes fail or little space is left | the writer refuses the record, on both paths |
//! | deadline of at most `MAX_DURATION` | a record waits two seconds at most |
//! | no fast answer on a connection that proved nothing | it has no caller, and so no memo |
//! | no memo of a call with hops or a token | `head.rs` hands over calls with such headers |
//! | no memo of a call that rejects a credential | a memo ends with its credential, which is not the rejected one |
//! | no memo while a refresh is due | a memo is not used while a refresh is due |
//! | origin of a failed call | failures of a known caller are recorded by the caller |

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, clippy::duration_suboptimal_units, unreachable_pub, reason = "a test may")]

mod call;
#[path = "../certificates/mod.rs"]
mod certificates;
mod normal;
mod outages;
mod policies;
mod proofs;
mod released;
mod sequences;
mod side;
mod source;
mod spans;
mod steps;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tokens/mod.rs"]
mod tokens;
mod unread;
mod wire;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ecr_broker::config::Sources;
use normal::Normal;
use proofs::Proofs;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use side::Side;
use steps::{end, run};
use support::FAST_PATH;
use world::{World, world};

/// Sequences in CI.
const CASES: u32 = 32;
/// Steps of a sequence at most.
const STEPS: usize = 30;
/// Attempts to shorten a sequence that shows a difference.
const SHRINKS: u32 = 100;

/// The longest search for a shorter sequence, in milliseconds. Where a broker does not come to rest, each attempt takes a minute.
const SHRINK_TIME: u32 = 120_000;

/// A number of the environment.
fn setting(name: &str) -> Option<usize> {
    let number = ecr_broker::environment::variable(name)?;
    Some(number.to_str().unwrap().parse().unwrap())
}

#[test]
fn fast_path_and_ordinary_path_cannot_be_told_apart() {
    let cases = setting("EQUIVALENCE_CASES").map_or(CASES, |cases| cases.try_into().unwrap());
    let steps = setting("EQUIVALENCE_STEPS").unwrap_or(STEPS);
    let max_shrink_iters = setting("EQUIVALENCE_SHRINKS").map_or(SHRINKS, |shrinks| shrinks.try_into().unwrap());
    let limits = Config { max_shrink_iters, max_shrink_time: SHRINK_TIME, ..Config::default() };
    let config = Config { cases, failure_persistence: None, ..limits };
    let (mut runner, proofs) = (TestRunner::new(config), Arc::new(Proofs::new()));
    let alike = AtomicU32::new(0);
    let outcome = runner.run(&world(steps), |world| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(&world, &proofs)).map_err(TestCaseError::fail)?;
        alike.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("after {} sequences that were alike: {error}", alike.load(Ordering::Relaxed));
    }
}

#[test]
fn fast_path_is_on_unless_the_setting_turns_it_off() {
    let with = |environment: &[(&str, &str)]| {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ecr_broker::config::Config::load(&Sources { environment, ..Sources::default() }).unwrap().server.fast_path
    };
    assert!(with(&[]));
    assert!(with(&[(FAST_PATH, "true")]));
    assert!(!with(&[(FAST_PATH, "false")]));
}

/// What one step showed.
#[derive(Debug)]
struct Seen {
    answers: Vec<Normal>,
    state: Vec<String>,
}

/// Runs the sequence on both brokers, step by step.
async fn compare(world: &World, proofs: &Arc<Proofs>) -> Result<(), String> {
    let mut fast = Side::start(world, proofs, true);
    let mut ordinary = Side::start(world, proofs, false);
    for (number, step) in world.steps.iter().enumerate() {
        let seen = tokio::join!(run(&mut fast, world, step), run(&mut ordinary, world, step)).into();
        check(&seen).map_err(|difference| format!("step {number}, {step:?}: {difference}"))?;
    }
    let seen = tokio::join!(end(&mut fast, &world.end), end(&mut ordinary, &world.end)).into();
    check(&seen).map_err(|difference| format!("shutdown: {difference}"))
}

fn check([fast, ordinary]: &[Seen; 2]) -> Result<(), String> {
    let are_alike = fast.answers.len() == ordinary.answers.len()
        && fast.answers.iter().zip(&ordinary.answers).all(|(fast, ordinary)| fast.is_like(ordinary));
    if !are_alike {
        let unlike = fast.answers.iter().zip(&ordinary.answers).find(|(fast, ordinary)| !fast.is_like(ordinary));
        return Err(unlike.map_or_else(
            || "not as many answers".to_owned(),
            |(fast, ordinary)| format!("answers differ:\nfast     {fast}\nordinary {ordinary}"),
        ));
    }
    if fast.state == ordinary.state {
        return Ok(());
    }
    let only = |one: &[String], other: &[String]| {
        let lines = one.iter().filter(|line| !other.contains(line));
        lines.cloned().collect::<Vec<_>>().join("\n")
    };
    let (of_fast, of_ordinary) = (only(&fast.state, &ordinary.state), only(&ordinary.state, &fast.state));
    Err(format!("the state differs:\nonly fast:\n{of_fast}\nonly ordinary:\n{of_ordinary}"))
}
