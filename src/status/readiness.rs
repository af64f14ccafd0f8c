//! Readiness: whether load balancers should send callers here.
//!
//! A check that has passed stays passed, except for the drain. An outage of AWS must not take brokers out of service that still have
//! credentials: all of them would go at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// What a broker must have done before it is ready. A clone is a handle of the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    could_serve: AtomicBool,
    is_warm: AtomicBool,
    is_draining: AtomicBool,
    changed: Notify,
}

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// Why it failed, if it did.
    pub(crate) problem: Option<&'static str>,
}

impl Readiness {
    /// Notes that the broker has an AWS identity, or credentials that it can return without.
    pub(crate) fn note_can_serve(&self) {
        self.note(&self.0.could_serve);
    }

    /// Notes that `cache.keep_warm` is filled, or that it took too long.
    pub(crate) fn note_warm(&self) {
        self.note(&self.0.is_warm);
    }

    /// Notes that the broker is shutting down.
    pub(crate) fn note_draining(&self) {
        self.note(&self.0.is_draining);
    }

    fn note(&self, flag: &AtomicBool) {
        if !flag.swap(true, Ordering::Relaxed) {
            self.0.changed.notify_waiters();
        }
    }

    /// Completes once every check passes.
    pub(crate) async fn until_ready(&self) {
        loop {
            // A change after this is not missed.
            let changed = self.0.changed.notified();
            if self.is_ready() {
                return;
            }
            changed.await;
        }
    }

    /// Returns whether `cache.keep_warm` is filled, or took too long.
    pub(crate) fn is_warm(&self) -> bool {
        self.0.is_warm.load(Ordering::Relaxed)
    }

    /// Returns whether the broker is shutting down.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }

    /// Returns whether every check passes.
    pub(crate) fn is_ready(&self) -> bool {
        self.checks().iter().all(|check| check.problem.is_none())
    }

    /// Returns the outcome of every check.
    pub(crate) fn checks(&self) -> [Check; 4] {
        let Flags { could_serve, is_warm, is_draining, changed: _ } = &*self.0;
        let check = |name, passed: bool, problem| Check { name, problem: (!passed).then_some(problem) };
        let [could_serve, is_warm, is_draining] =
            [could_serve, is_warm, is_draining].map(|flag| flag.load(Ordering::Relaxed));
        [
            // The broker does not start without one, and keeps it when a changed file is broken.
            check("configuration", true, ""),
            check("aws_identity", could_serve, "no AWS identity found so far"),
            check("keep_warm", is_warm, "cache.keep_warm is not filled yet"),
            check("shutdown", !is_draining, "the broker is shutting down"),
        ]
    }
}
