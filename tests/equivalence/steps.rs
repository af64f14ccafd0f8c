//! What happens in a step.

use std::time::Duration;

use ecr_broker::error::FailureClass;
use tokio::task::JoinHandle;

use crate::Seen;
use crate::call::{Call, Method, Twist};
use crate::normal::Normal;
use crate::policies::policy;
use crate::side::Side;
use crate::source::Script;
use crate::wire::Answer;
use crate::world::{End, GRID, Step, World};

/// Does a step on one broker.
pub async fn run(side: &mut Side, world: &World, step: &Step) -> Seen {
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
        Step::Together(connection, calls) => answers = together(side, world, *connection, calls).await,
        Step::Late(connection, call) => {
            let call = fitting(world, &call.within("250m"));
            side.source.shut();
            let answer = side.begin(*connection, &call).await.await.unwrap();
            answers.push(side.understand(&answer, &call));
            side.source.open();
        }
        Step::Hasty(connection, call, time) => {
            // The wait for a thread that writes the record races with the limit.
            if world.audit.is_none() || world.workers > 1 {
                answers = hasty(side, *connection, &alone(call), time).await;
            }
        }
        Step::AuditFails(connection, call) => answers = audit_fails(side, *connection, &alone(call)).await,
        Step::ShortLived(connection, call) => answers = short_lived(side, *connection, &alone(call)).await,
        Step::AfterHits(connection, call) => {
            let plain = Call::plain(call.target);
            let call = fitting(world, call);
            for call in [&plain, &plain, &call, &call, &call, &plain] {
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
        Step::Audit(works) => side.set_audit(*works).await,
    }
    // The broker ends it after a while, by the clock of the machine.
    side.disconnect_unproved();
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
pub async fn one(side: &mut Side, connection: usize, call: &Call) -> Normal {
    side.source.shut();
    let waiting = side.cache.waiting();
    let started = side.begin(connection, call).await;
    side.until_answered_or_waiting(&started, waiting).await;
    if call.method() == Method::Watch && started.is_finished() {
        // Else the broker may send the result of a refresh before it knows that the client has left.
        side.until_at_rest().await;
    }
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

/// Makes calls that the broker reads together, twice each, after each of them alone. They get their answers without a fetch: else they
/// race for it.
async fn together(side: &mut Side, world: &World, connection: usize, calls: &[Call]) -> Vec<Normal> {
    let is_left_out = |twist: &Twist| match twist {
        // With its answer, the next one would reject the next credential.
        Twist::RejectsLast => true,
        // A call that does not come as a whole races with the others for its place in the order of uses.
        Twist::Split(_) | Twist::LateEnd => world.is_small(),
        _ => false,
    };
    let fitting = |call: &Call| fitting(world, &alone(call)).without(is_left_out);
    let calls: Vec<_> = calls.iter().map(fitting).collect();
    let (mut answers, mut before) = (Vec::new(), 0);
    for _ in 0..3 {
        before = side.source.calls();
        for call in &calls {
            answers.push(one(side, connection, call).await);
            side.rest().await;
        }
    }
    if side.source.calls() == before {
        let calls = [calls.as_slice(), &calls].concat();
        let together = side.call_together(connection, &calls).await;
        answers.extend(together.iter().zip(&calls).map(|(answer, call)| side.understand(answer, call)));
    }
    answers
}

/// Makes a call that must be a hit, and again with a time limit that has passed when the broker reads it. A call that does not come as a
/// whole, or that needs a fetch, would race with its limit.
async fn hasty(side: &mut Side, connection: usize, call: &Call, time: &str) -> Vec<Normal> {
    let call = call.without(|twist| matches!(twist, Twist::Split(_) | Twist::LateEnd | Twist::RejectsLast));
    let (mut answers, mut before) = (Vec::new(), 0);
    for _ in 0..3 {
        before = side.source.calls();
        answers.push(one(side, connection, &call).await);
        side.rest().await;
    }
    if side.source.calls() == before {
        answers.push(one(side, connection, &call.within(time)).await);
    }
    answers
}

/// Makes a call that must be a hit while the audit log's writes succeed, fail, and succeed again.
async fn audit_fails(side: &mut Side, connection: usize, call: &Call) -> Vec<Normal> {
    let mut answers = Vec::new();
    for (works, calls) in [(true, 3), (false, 2), (true, 2)] {
        side.set_audit(works).await;
        for _ in 0..calls {
            answers.push(one(side, connection, call).await);
            side.rest().await;
        }
    }
    answers
}

/// Makes a call until it is a hit, and again after the credential has aged.
async fn short_lived(side: &mut Side, connection: usize, call: &Call) -> Vec<Normal> {
    let mut answers = Vec::new();
    side.source.follow(Script::Token(Duration::from_mins(50)));
    for (units, calls) in [(4, 4), (2, 2), (1, 1)] {
        side.clock.advance(GRID * units);
        for _ in 0..calls {
            answers.push(one(side, connection, call).await);
            side.fetched().await;
        }
    }
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

/// Stops a broker while a call waits.
pub async fn end(side: &mut Side, end: &End) -> Seen {
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
