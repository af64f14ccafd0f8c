//! Node: one server with its circuit breaker.
//!
//! A task keeps the link: it connects, and again once the connection is lost. An operation never connects and never repeats. It waits
//! for a link at most as long as it would wait for an answer. A node that does not answer in time, that cannot be connected to, or
//! that fails three times in a row is open: its operations end at once, while the task tries it again every one to two seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::dial::{Dialer, Place};
use super::fault::{Fault, FaultClass};
use super::link::{Driver, Link};
use super::scripts::Call;
use crate::jitter;

/// Failures in a row that open the breaker.
const MAX_FAILURES: u32 = 3;
/// Shortest time between two attempts to connect to a node that is open; the longest is twice that.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A server. Dropping it closes its connection.
#[derive(Debug)]
pub(super) struct Node {
    shared: Arc<Shared>,
    _keeper: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    condition: watch::Sender<Condition>,
    failures: AtomicU32,
}

/// The state of a node, and what the log said of it.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    state: State,
    /// The start of the state, as operators see it: attempts to reconnect are part of an outage.
    pub(super) since: Instant,
    /// The last fault, which may be over.
    pub(super) last_fault: Option<FaultClass>,
}

#[derive(Debug, Clone)]
enum State {
    /// The task is connecting; operations wait for it.
    Connecting,
    /// The number tells links apart.
    Connected(Link, u64),
    /// Operations end at once.
    Open,
}

/// State of a node, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// The first connection is being opened.
    Connecting,
    /// The node serves operations.
    Connected,
    /// The circuit breaker is open.
    BreakerOpen,
}

impl NodeState {
    /// Every state.
    pub(super) const ALL: [Self; 3] = [Self::Connecting, Self::Connected, Self::BreakerOpen];

    /// Returns the word for metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::BreakerOpen => "breaker_open",
        }
    }
}

impl Node {
    /// Starts the task that connects. Does not wait for it.
    pub(super) fn start(place: Place, dialer: Arc<Dialer>) -> Arc<Self> {
        let condition = Condition { state: State::Connecting, since: Instant::now(), last_fault: None };
        let condition = watch::Sender::new(condition);
        let shared = Arc::new(Shared { place, condition, failures: AtomicU32::new(0) });
        let keeper = tokio::spawn(Arc::clone(&shared).keep(dialer));
        Arc::new(Self { shared, _keeper: AbortOnDropHandle::new(keeper) })
    }

    /// Runs an operation until `deadline`.
    pub(super) async fn run(&self, call: &Call<'_>, asking: bool, deadline: Instant) -> Result<Value, Fault> {
        let (link, number) = self.shared.link(deadline).await?;
        let answer = timeout_at(deadline, link.call(call, asking)).await;
        let answer = answer.unwrap_or(Err(FaultClass::Timeout.into()));
        self.shared.record(answer.as_ref().err(), number);
        answer
    }

    /// Records that the answer to an operation was not one: of another shape.
    pub(super) fn record_invalid(&self) {
        let State::Connected(_, number) = self.shared.condition.borrow().state else { return };
        self.shared.record(Some(&FaultClass::Invalid.into()), number);
    }

    pub(super) fn condition(&self) -> Condition {
        self.shared.condition.borrow().clone()
    }

    pub(super) fn is_open(&self) -> bool {
        self.condition().state() == NodeState::BreakerOpen
    }

    pub(super) fn name(&self) -> String {
        self.shared.place.name()
    }

    /// Waits for a state.
    #[cfg(test)]
    pub(super) async fn until(&self, state: NodeState) {
        let mut conditions = self.shared.condition.subscribe();
        conditions.wait_for(|condition| condition.state() == state).await.expect("the node exists");
    }
}

impl Condition {
    pub(super) fn state(&self) -> NodeState {
        match self.state {
            State::Connecting => NodeState::Connecting,
            State::Connected(..) => NodeState::Connected,
            State::Open => NodeState::BreakerOpen,
        }
    }
}

impl Shared {
    /// Returns the link, once there is one.
    ///
    /// An operation that waits in vain opens the breaker, so that the next one does not wait, too: Sentinels are asked one after the
    /// other. The connection that is then made closes it.
    async fn link(&self, deadline: Instant) -> Result<(Link, u64), Fault> {
        let is_connecting = |state: &State| matches!(state, State::Connecting);
        let mut conditions = self.condition.subscribe();
        let known = conditions.wait_for(|condition| !is_connecting(&condition.state));
        let Ok(known) = timeout_at(deadline, known).await else {
            self.change(is_connecting, &State::Open, Some(FaultClass::Timeout));
            return Err(FaultClass::Timeout.into());
        };
        match known.map(|condition| condition.state.clone()) {
            Ok(State::Connected(link, number)) => Ok((link, number)),
            _ => Err(Fault::Open),
        }
    }

    /// Records how an operation ended. A server that does not answer in time is not given a second chance at a caller's expense.
    fn record(&self, fault: Option<&Fault>, number: u64) {
        let Some(fault) = fault else { return self.failures.store(0, Ordering::Relaxed) };
        if self.place.is_in_cluster() && matches!(fault, Fault::Moved(_) | Fault::Ask(_)) {
            return;
        }
        let class = fault.class();
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let is_of_link = |state: &State| matches!(state, State::Connected(_, of) if *of == number);
        if class == FaultClass::Timeout || failures >= MAX_FAILURES {
            self.change(is_of_link, &State::Open, Some(class));
        } else if class.ends_connection() {
            self.change(is_of_link, &State::Connecting, Some(class));
        }
    }

    /// Changes the state if it is as `from` tells, and logs the start and the end of an outage.
    fn change(&self, from: impl Fn(&State) -> bool, to: &State, fault: Option<FaultClass>) {
        let mut was = None;
        self.condition.send_if_modified(|condition| {
            let applies = from(&condition.state);
            if applies {
                was = Some((condition.state(), condition.since));
                let condition_before = condition.state();
                condition.state = to.clone();
                condition.last_fault = fault.or(condition.last_fault);
                if condition.state() != condition_before {
                    condition.since = Instant::now();
                }
            }
            applies
        });
        let Some((before, since)) = was else { return };
        let node = self.place.name();
        match (to, before) {
            (State::Open, NodeState::Connecting | NodeState::Connected) => {
                let fault = fault.map(FaultClass::as_str);
                warn!(node, fault, "shared cache unavailable");
            }
            (State::Connected(..), NodeState::BreakerOpen) => {
                let after = humantime::format_duration(Duration::from_secs(since.elapsed().as_secs())).to_string();
                info!(node, after, "shared cache available again");
            }
            _ => {}
        }
    }

    /// Keeps the link for as long as the node exists.
    async fn keep(self: Arc<Self>, dialer: Arc<Dialer>) {
        for number in 0.. {
            match dialer.open(&self.place).await {
                Ok((link, driver)) => self.attend(link, driver, number).await,
                Err(fault) => self.change(|_| true, &State::Open, Some(fault.class())),
            }
            if matches!(self.condition.borrow().state, State::Open) {
                tokio::time::sleep(jitter::at_least(RETRY_DELAY, 1.0)).await;
            }
        }
    }

    /// Drives a connection until it ends or an operation gives it up.
    async fn attend(&self, link: Link, mut driver: Driver, number: u64) {
        let connected = Instant::now();
        self.failures.store(0, Ordering::Relaxed);
        self.change(|_| true, &State::Connected(link.clone(), number), None);
        let mut conditions = self.condition.subscribe();
        tokio::select! {
            () = driver.ended() => {}
            _ = conditions.wait_for(|condition| !matches!(condition.state, State::Connected(..))) => return,
        }
        let is_of_link = |state: &State| matches!(state, State::Connected(_, of) if *of == number);
        let class = if link.has_refused() { FaultClass::Invalid } else { FaultClass::Unreachable };
        // A server may close a connection that was idle. One that closes each at once is not connected to in a loop.
        let to = if connected.elapsed() < RETRY_DELAY { State::Open } else { State::Connecting };
        self.change(is_of_link, &to, Some(class));
    }
}
