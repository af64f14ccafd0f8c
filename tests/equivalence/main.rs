//! The fast path against the ordinary one: a broker with it and a broker without it, under the same random sequences.
//!
//! Each broker has its own source and clock, which follow the same script. After every step the answers, the audit records, the
//! spans, the metrics, the cache's state and the calls of the source are compared. Request IDs, random spread and measured time are left out.
//!
//! `EQUIVALENCE_CASES=NUMBER` tries more sequences, of `EQUIVALENCE_STEPS` steps at most.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, clippy::duration_suboptimal_units, unreachable_pub, reason = "a test may")]

mod call;
mod normal;
mod policies;
mod side;
mod source;
mod spans;
#[path = "../support/mod.rs"]
mod support;
mod wire;
mod world;

use call::{Call, Method, Twist};
use ecr_broker::config::Sources;
use ecr_broker::error::FailureClass;
use normal::Normal;
use policies::policy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use side::Side;
use source::Script;
use support::FAST_PATH;
use tokio::task::JoinHandle;
use wire::Answer;
use world::{End, GRID, Step, World, world};

/// Sequences in CI.
const CASES: u32 = 24;
/// Steps of a sequence at most.
const STEPS: usize = 30;

/// A number of the environment.
fn setting(name: &str) -> Option<usize> {
    let number = ecr_broker::environment::variable(name)?;
    Some(number.to_str().unwrap().parse().unwrap())
}

#[test]
fn fast_path_and_ordinary_path_cannot_be_told_apart() {
    let cases = setting("EQUIVALENCE_CASES").map_or(CASES, |cases| cases.try_into().unwrap());
    let steps = setting("EQUIVALENCE_STEPS").unwrap_or(STEPS);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 100, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&world(steps), |world| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(&world)).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
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
async fn compare(world: &World) -> Result<(), String> {
    let mut fast = Side::start(world, true);
    let mut ordinary = Side::start(world, false);
    for (number, step) in world.steps.iter().enumerate() {
        let seen = [run(&mut fast, world, step).await, run(&mut ordinary, world, step).await];
        check(&seen).map_err(|difference| format!("step {number}, {step:?}: {difference}"))?;
    }
    let seen = [end(&mut fast, &world.end).await, end(&mut ordinary, &world.end).await];
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

async fn run(side: &mut Side, world: &World, step: &Step) -> Seen {
    let mut answers = Vec::new();
    match step {
        Step::Calls(connection, calls) => {
            for call in calls {
                let (call, before) = (fitting(world, call), side.source.calls());
                answers.push(one(side, *connection, &call).await);
                side.fetched().await;
                // A full cache evicts when it likes, but here before the next call. A watch reads it until its end is known.
                let may_evict = world.is_small() && side.source.calls() != before;
                if may_evict || call.method() == Method::Watch {
                    side.rest().await;
                }
            }
        }
        Step::AtOnce(connection, call, count) => {
            // With its answer, the next one would reject the next credential.
            let call = fitting(world, call).without(|twist| *twist == Twist::RejectsLast);
            answers.push(one(side, *connection, &call).await);
            side.rest().await;
            let before = side.source.calls();
            answers.push(one(side, *connection, &call).await);
            side.rest().await;
            // Else they race for the fetch.
            if side.source.calls() == before {
                answers.extend(at_once(side, *connection, &call, *count).await);
            }
        }
        Step::During(connection, first, calls) => {
            if !world.is_small() {
                answers = during(side, *connection, first, calls).await;
            }
        }
        Step::Late(connection, call) => {
            let mut call = call.without(|twist| matches!(twist, Twist::Header("grpc-timeout", _)));
            call.twists.push(Twist::Header("grpc-timeout", "250m".to_owned()));
            let call = fitting(world, &call);
            side.source.shut();
            let answer = side.begin(*connection, &call).await.await.unwrap();
            answers.push(side.understand(&answer, &call));
            side.source.open();
        }
        Step::AfterHits(connection, call) => {
            let plain = Call { target: call.target, twists: Vec::new() };
            for call in [&plain, &plain, &fitting(world, call), &plain] {
                answers.push(one(side, *connection, call).await);
                side.rest().await;
            }
        }
        Step::Rejection(connection, call) => {
            let call = alone(call);
            let twists = [call.twists.as_slice(), &[Twist::RejectsLast]].concat();
            let rejecting = Call { target: call.target, twists };
            for call in [&call, &call, &rejecting, &call] {
                answers.push(one(side, *connection, call).await);
                side.fetched().await;
            }
        }
        Step::WrongTime(connection, call, units) => {
            let call = alone(call);
            for _ in 0..2 {
                answers.push(one(side, *connection, &call).await);
                side.fetched().await;
            }
            side.source.follow(Script::Fail(FailureClass::Unavailable));
            side.clock.step_wall_forward(GRID * *units);
            answers.push(one(side, *connection, &call).await);
            side.fetched().await;
            side.clock.step_wall_back(GRID * *units);
            answers.push(one(side, *connection, &call).await);
        }
        Step::Advance(units) => side.clock.advance(GRID * *units),
        Step::WallForward(units) => side.clock.step_wall_forward(GRID * *units),
        Step::WallBack(units) => side.clock.step_wall_back(GRID * *units),
        Step::Source(script) => side.source.follow(*script),
        Step::Policy(number) => _ = side.broker.set_policy(policy(*number)),
        Step::Reconnect(connection) => side.disconnect(*connection),
        Step::Audit(works) => side.set_audit(*works),
    }
    side.rest().await;
    Seen { answers, state: side.observe().await }
}

impl World {
    fn is_small(&self) -> bool {
        self.capacity < 100
    }
}

/// Returns a call whose registries do not race for one fetch, or for their places in a small cache.
fn fitting(world: &World, call: &Call) -> Call {
    let mut call = call.clone();
    for twist in &mut call.twists {
        if let Twist::Batch(targets) = twist {
            let mut seen = vec![call.target.registry()];
            targets.retain(|target| {
                let is_new = !seen.contains(&target.registry());
                seen.push(target.registry());
                is_new && !world.is_small()
            });
        }
    }
    call
}

/// Returns a call that waits for one fetch at most. When a batch waits for all of its fetches cannot be seen, and the end of a watch
/// races with its snapshot.
fn alone(call: &Call) -> Call {
    call.without(|twist| matches!(twist, Twist::Batch(_) | Twist::Watch))
}

/// Makes a call. The source answers no sooner than a hit: else the failure of a refresh races with the answer that starts it.
async fn one(side: &mut Side, connection: usize, call: &Call) -> Normal {
    side.source.shut();
    let waiting = side.cache.waiting();
    let started = side.begin(connection, call).await;
    side.until_answered_or_waiting(&started, waiting).await;
    side.source.open();
    side.understand(&started.await.unwrap(), call)
}

/// The answers, sorted: the calls race.
async fn at_once(side: &mut Side, connection: usize, call: &Call, count: usize) -> Vec<Normal> {
    let mut started = Vec::new();
    for _ in 0..count {
        started.push(side.begin(connection, call).await);
    }
    let mut answers = Vec::new();
    for answer in started {
        answers.push(side.understand(&answer.await.unwrap(), call));
    }
    answers.sort();
    answers
}

/// Makes calls while the source does not answer. A registry that a call waits for is not asked for again: whether the second call
/// waits with the first cannot be seen.
async fn during(side: &mut Side, connection: usize, first: &Call, calls: &[Call]) -> Vec<Normal> {
    side.source.shut();
    let mut started: Vec<(Call, JoinHandle<Answer>)> = Vec::new();
    for call in std::iter::once(first).chain(calls) {
        let call = alone(call);
        let is_asked = |(other, answer): &(Call, JoinHandle<Answer>)| {
            !answer.is_finished() && other.target.registry() == call.target.registry()
        };
        if !started.iter().any(is_asked) {
            let waiting = side.cache.waiting();
            let answer = side.begin(connection, &call).await;
            side.until_answered_or_waiting(&answer, waiting).await;
            started.push((call, answer));
        }
    }
    side.source.open();
    let mut answers = Vec::new();
    for (call, answer) in started {
        answers.push(side.understand(&answer.await.unwrap(), &call));
    }
    answers
}

async fn end(side: &mut Side, end: &End) -> Seen {
    side.source.shut();
    let (call, waiting) = (&alone(end.call()), side.cache.waiting());
    let started = side.begin(0, call).await;
    side.until_answered_or_waiting(&started, waiting).await;
    side.begin_shutdown();
    if matches!(end, End::Drain(_)) {
        side.source.open();
    }
    let answer = started.await.unwrap();
    side.source.open();
    let answers = vec![side.understand(&answer, call)];
    side.until_stopped().await;
    Seen { answers, state: side.observe().await }
}
