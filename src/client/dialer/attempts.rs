//! Attempts to connect to each of several addresses, side by side.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::super::address::Address;
use super::super::backoff::Backoff;
use super::super::failure::Failure;
use super::super::problem::{Problem, ProblemKind};

/// Head start of an address over the next one. A silent address costs the next one this long.
const HEAD_START: Duration = Duration::from_secs(1);

/// How long to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Persistence {
    /// Each address until the deadline, with backoff.
    UntilDeadline,
    /// Each address once, for a caller that has its own backoff.
    Once,
}

/// One attempt for each address, and their results. `connect` starts an attempt.
#[derive(Debug)]
pub(super) struct Attempts<'a, T, C> {
    targets: Vec<Target<'a>>,
    are_configured: bool,
    connect: C,
    running: JoinSet<(usize, Result<T, Problem>)>,
    /// A default socket was there, so that the default loopback address may not be used.
    is_loopback_barred: bool,
}

#[derive(Debug)]
struct Target<'a> {
    address: &'a Address,
    is_running: bool,
    /// The problem of the last attempt that has ended.
    problem: Option<Problem>,
}

impl<'a, T, C, F> Attempts<'a, T, C>
where
    T: Send + 'static,
    C: FnMut(&Address) -> F,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    pub(super) fn new(addresses: &'a [Address], are_configured: bool, connect: C) -> Self {
        let targets = addresses.iter().map(|address| Target { address, is_running: false, problem: None }).collect();
        Self { targets, are_configured, connect, running: JoinSet::new(), is_loopback_barred: false }
    }

    /// Returns the first address that answers and its connection, or none once a new attempt cannot help.
    pub(super) async fn run(&mut self, persistence: Persistence) -> Option<(Address, T)> {
        let mut backoff = Backoff::new();
        loop {
            if let Some(connected) = self.round().await {
                return Some(connected);
            }
            if persistence == Persistence::Once || !self.may_continue() {
                return self.until(None, |_| false).await;
            }
            let end = Instant::now() + backoff.delay();
            if let Some(connected) = self.until(Some(end), |_| false).await {
                return Some(connected);
            }
            sleep_until(end).await;
        }
    }

    /// Starts each address that has no attempt in flight, in order.
    async fn round(&mut self) -> Option<(Address, T)> {
        for at in 0..self.targets.len() {
            if !self.may_start(at) {
                continue;
            }
            self.start(at);
            let end = Instant::now() + HEAD_START;
            let connected = self.until(Some(end), |all| !all.targets[at].is_running).await;
            if connected.is_some() {
                return connected;
            }
        }
        None
    }

    fn start(&mut self, at: usize) {
        let attempt = (self.connect)(self.targets[at].address);
        self.running.spawn(async move { (at, attempt.await) });
        self.targets[at].is_running = true;
    }

    /// Records results until one is a connection, none is left, `is_done` holds, or the time is over.
    async fn until(&mut self, end: Option<Instant>, is_done: impl Fn(&Self) -> bool) -> Option<(Address, T)> {
        while !is_done(self) {
            let next = self.running.join_next();
            let ended = match end {
                Some(end) => timeout_at(end, next).await.ok().flatten()?,
                None => next.await?,
            };
            let connected = self.record(ended);
            if connected.is_some() {
                return connected;
            }
        }
        None
    }

    fn record(&mut self, ended: Result<(usize, Result<T, Problem>), JoinError>) -> Option<(Address, T)> {
        let (at, result) = ended.ok()?;
        let address = self.targets[at].address;
        let is_missing = result.as_ref().is_err_and(|problem| problem.kind == ProblemKind::Missing);
        self.is_loopback_barred |= !self.are_configured && address.is_socket() && !is_missing;
        self.targets[at].is_running = false;
        match &result {
            Ok(_) => debug!(%address, "connected"),
            Err(problem) => debug!(%address, %problem, "connection attempt failed"),
        }
        match result {
            Ok(connected) if !self.is_barred(address) => return Some((address.clone(), connected)),
            Ok(_) => {}
            Err(problem) => self.targets[at].problem = Some(problem),
        }
        None
    }

    fn may_start(&self, at: usize) -> bool {
        let Target { address, is_running, problem } = &self.targets[at];
        let may_pass = problem.as_ref().is_none_or(Problem::may_pass);
        !is_running && may_pass && (self.are_configured || self.is_default_admitted(address))
    }

    /// Returns whether a default address counts: a socket only in a directory that exists, loopback only without a socket. Without
    /// loopback every socket counts, because the client has nothing else to wait for.
    fn is_default_admitted(&self, address: &Address) -> bool {
        match address {
            Address::Unix(_) if self.targets.iter().all(|target| target.address.is_socket()) => true,
            Address::Unix(path) => path.parent().is_some_and(|directory| directory.try_exists().unwrap_or(true)),
            Address::Plain(_) | Address::Tls(_) => !self.is_barred(address) && !self.is_trying_a_socket(),
        }
    }

    fn is_trying_a_socket(&self) -> bool {
        self.targets.iter().any(|target| target.address.is_socket() && target.is_running)
    }

    fn is_barred(&self, address: &Address) -> bool {
        self.is_loopback_barred && !address.is_socket()
    }

    /// Returns whether a later attempt may connect. A default socket without permission is the broker's: no other address counts.
    fn may_continue(&self) -> bool {
        let is_denied =
            |target: &Target<'_>| target.problem.as_ref().is_some_and(|one| one.kind == ProblemKind::PermissionDenied);
        (self.are_configured || !self.targets.iter().any(is_denied))
            && self.targets.iter().any(|target| self.may_pass(target))
    }

    /// Returns whether an attempt is in flight or may be made later. A socket that was there is waited for without its directory too.
    fn may_pass(&self, Target { address, is_running, problem }: &Target<'_>) -> bool {
        match problem {
            _ if *is_running => true,
            Some(problem) => problem.may_pass() && !self.is_barred(address),
            None => self.are_configured || self.is_default_admitted(address),
        }
    }

    pub(super) fn is_loopback_barred(&self) -> bool {
        self.is_loopback_barred
    }

    /// Returns the failure after a wait without a connection.
    pub(super) fn failure(self, waited: Duration) -> Failure {
        let problems = self.targets.into_iter().filter_map(|Target { address, is_running, problem }| {
            problem.or_else(|| is_running.then(Problem::timed_out)).map(|problem| (address, problem))
        });
        Problem::failure(&problems.collect::<Vec<_>>(), waited)
    }
}

#[cfg(test)]
mod tests;
