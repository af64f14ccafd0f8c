//! The random sequences.

use std::time::Duration;

use ecr_broker::error::FailureClass;
use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::call::{Call, Target, Twist, call, target, twist};
use crate::policies::POLICIES;
use crate::side::CONNECTIONS;
use crate::source::Script;

/// The clocks move by multiples of this time. No random delay of the cache ends on one.
pub const GRID: Duration = Duration::from_mins(10);

/// The configuration of both brokers, and what happens to them.
#[derive(Debug, Clone)]
pub struct World {
    pub capacity: u64,
    pub safety_margin: Duration,
    /// The reserve of the audit log; `None`: the broker keeps no audit log.
    pub audit: Option<u64>,
    /// Bytes of records that wait while the log fails, where credentials are released all the same; `None`: they are refused.
    pub buffer: Option<u64>,
    /// Workers of the broker's runtime. With a single one only a thread writes the audit log.
    pub workers: usize,
    pub has_tls: bool,
    pub has_tight_limits: bool,
    /// Whether every call has a span.
    pub is_sampled: bool,
    pub policy: usize,
    pub steps: Vec<Step>,
    pub end: End,
}

#[derive(Debug, Clone)]
pub enum Step {
    /// Calls one after the other.
    Calls(usize, Vec<Call>),
    /// The same call several times at once, after one alone.
    AtOnce(usize, Call, usize),
    /// Calls during a fetch that waits.
    During(usize, Call, Vec<Call>),
    /// Different calls in one piece, after each of them alone.
    Together(usize, Vec<Call>),
    /// A call whose deadline passes if it needs the source.
    Late(usize, Call),
    /// A hit whose deadline passes at once.
    Hasty(usize, Call, &'static str),
    /// Hits before, while and after the audit log's writes fail.
    AuditFails(usize, Call),
    /// A call for a credential that soon ends too early for it, and whose refresh is due only later.
    ShortLived(usize, Call),
    /// A call after plain hits of its target.
    AfterHits(usize, Call),
    /// A hit whose credential the registry then rejects, and the same call again.
    Rejection(usize, Call),
    /// A refresh that fails because the wall clock is wrong for a while.
    WrongTime(usize, Call, u32),
    Advance(u32),
    WallForward(u32),
    WallBack(u32),
    Source(Script),
    Policy(usize),
    /// A client that connects again.
    Reconnect(usize),
    /// The audit log's writes succeed or fail.
    Audit(bool),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A shutdown that waits for a call.
    Drain(Call),
    /// A shutdown that ends a call which waits too long.
    Forced(Call),
}

impl End {
    pub fn drain_timeout(&self) -> Duration {
        match self {
            Self::Drain(_) => Duration::from_mins(1),
            Self::Forced(_) => Duration::from_millis(50),
        }
    }

    pub fn call(&self) -> &Call {
        match self {
            Self::Drain(call) | Self::Forced(call) => call,
        }
    }
}

impl World {
    /// Returns the usual world of these steps, in which a task writes the audit log.
    pub fn of(steps: Vec<Step>) -> Self {
        Self {
            capacity: 100,
            safety_margin: Duration::from_mins(5),
            audit: Some(0),
            buffer: None,
            workers: 2,
            has_tls: false,
            has_tight_limits: false,
            is_sampled: true,
            policy: 1,
            steps,
            end: End::Forced(Call::plain(Target::Host(0))),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let connection = || 0..CONNECTIONS;
    prop_oneof![
        20 => (connection(), vec(call(), 1..6)).prop_map(|(connection, calls)| Step::Calls(connection, calls)),
        4 => (connection(), call(), 2_usize..12).prop_map(|(connection, call, count)| Step::AtOnce(connection, call, count)),
        2 => (connection(), call(), vec(call(), 1..4)).prop_map(|(connection, first, calls)| Step::During(connection, first, calls)),
        4 => (connection(), vec(call(), 2..8)).prop_map(|(connection, calls)| Step::Together(connection, calls)),
        1 => (connection(), call()).prop_map(|(connection, call)| Step::Late(connection, call)),
        2 => (connection(), call(), select(vec!["1n", "0S", "1m"]))
            .prop_map(|(connection, call, time)| Step::Hasty(connection, call, time)),
        2 => (connection(), call()).prop_map(|(connection, call)| Step::AuditFails(connection, call)),
        3 => (connection(), short_lived()).prop_map(|(connection, call)| Step::ShortLived(connection, call)),
        2 => (connection(), call()).prop_map(|(connection, call)| Step::Rejection(connection, call)),
        2 => (connection(), call(), 4_u32..60).prop_map(|(connection, call, units)| Step::WrongTime(connection, call, units)),
        8 => (connection(), target(), twist()).prop_map(|(connection, target, twist)| {
            Step::AfterHits(connection, Call { target, twists: vec![twist] })
        }),
        4 => (1_u32..6).prop_map(Step::Advance),
        1 => (60_u32..80).prop_map(Step::Advance),
        1 => (1_u32..80).prop_map(Step::WallForward),
        1 => (1_u32..20).prop_map(Step::WallBack),
        4 => select(scripts()).prop_map(Step::Source),
        3 => (0..POLICIES).prop_map(Step::Policy),
        1 => connection().prop_map(Step::Reconnect),
        1 => any::<bool>().prop_map(Step::Audit),
    ]
}

/// A call for a credential with fifty minutes: it ends too early for some calls after twenty, and a refresh is due later.
fn short_lived() -> impl Strategy<Value = Call> {
    let lasting = |target| Call { target, twists: vec![Twist::MinValidity(2_400)] };
    prop_oneof![2 => call(), 1 => target().prop_map(lasting)]
}

fn scripts() -> Vec<Script> {
    let minutes = Duration::from_mins;
    vec![
        Script::Token(minutes(720)),
        Script::Token(minutes(720)),
        Script::Token(minutes(50)),
        Script::SameToken(minutes(720)),
        Script::AgedToken(minutes(20), minutes(50)),
        Script::AgedToken(minutes(360), minutes(360)),
        Script::Fail(FailureClass::Throttled),
        Script::Fail(FailureClass::Denied),
        Script::Fail(FailureClass::Unavailable),
        Script::QueueFull,
    ]
}

/// Returns worlds of so many steps at most.
pub fn world(steps: usize) -> impl Strategy<Value = World> {
    let end = prop_oneof![3 => call().prop_map(End::Drain), 1 => call().prop_map(End::Forced)];
    let settings = (
        select(vec![2_u64, 3, 10_000, 10_000]),
        select(vec![5, 35]),
        (audit(), buffer()),
        select(vec![1, 2, 2]),
        weighted(0.4),
        weighted(0.2),
        any::<bool>(),
    );
    let world = (settings, 0..POLICIES, vec(step(), 1..steps), end);
    world.prop_map(
        |((capacity, margin, (audit, buffer), workers, has_tls, has_tight_limits, is_sampled), policy, steps, end)| {
            World {
                capacity,
                safety_margin: Duration::from_mins(margin),
                audit,
                buffer,
                workers,
                has_tls,
                has_tight_limits,
                is_sampled,
                policy,
                steps,
                end,
            }
        },
    )
}

/// The reserve is none or more than any disk has.
fn audit() -> impl Strategy<Value = Option<u64>> {
    select(vec![None, None, None, Some(0), Some(0), Some(0), Some(u64::MAX / 2)])
}

/// Room for no record, or for more than any sequence has: calls at once race for the last room.
fn buffer() -> impl Strategy<Value = Option<u64>> {
    select(vec![None, None, None, Some(1), Some(1 << 24)])
}
