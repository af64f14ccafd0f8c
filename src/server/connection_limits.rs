//! Connection limits: how many connections may be open, in total and from one origin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;
use tracing::warn;

use super::settings::Settings;
use crate::limits::{LimitHits, LimitName, Origin, Used};
use crate::log_throttle::{self, LogThrottle};
use crate::sync::lock;

/// The most connections that may be open.
pub(super) type ConnectionLimits = ByScope<Limit>;

/// One value for all connections, and one each for those of an address and of a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ByScope<T> {
    pub(super) total: T,
    pub(super) per_address: T,
    pub(super) per_uid: T,
}

/// The connections that a limit counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Total,
    Address,
    Uid,
}

/// A limit, and the setting that changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    connections: usize,
    setting: Option<&'static str>,
}

/// Counts open connections. A clone is a handle of the same count.
#[derive(Debug, Clone)]
pub(super) struct ConnectionCounter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: ConnectionLimits,
    open: Mutex<Open>,
    created: Instant,
    logs: ByScope<LogThrottle>,
    hits: LimitHits,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_origin: HashMap<Origin, usize>,
}

/// A counted connection; dropping the permit gives its place back.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    inner: Arc<Inner>,
    origin: Origin,
}

impl Limit {
    /// Returns a limit that no setting changes.
    pub(super) fn fixed(connections: usize) -> Self {
        Self { connections, setting: None }
    }

    fn set_by(setting: &'static str, connections: usize) -> Self {
        Self { connections, setting: Some(setting) }
    }
}

impl<T> ByScope<T> {
    fn get(&self, scope: Scope) -> &T {
        match scope {
            Scope::Total => &self.total,
            Scope::Address => &self.per_address,
            Scope::Uid => &self.per_uid,
        }
    }
}

impl ConnectionLimits {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            total: Limit::set_by("server.max_connections", settings.max_connections),
            per_address: Limit::set_by("server.max_connections_per_address", settings.max_connections_per_address),
            per_uid: Limit::set_by("server.max_connections_per_uid", settings.max_connections_per_uid),
        }
    }
}

impl Scope {
    fn of(origin: Origin) -> Self {
        match origin {
            Origin::Network(_) | Origin::AwsApi => Self::Address,
            Origin::Uid(_) => Self::Uid,
        }
    }
}

impl ConnectionCounter {
    pub(super) fn new(limits: ConnectionLimits, hits: LimitHits) -> Self {
        let (open, logs) = (Mutex::default(), ByScope::default());
        Self(Arc::new(Inner { limits, open, created: Instant::now(), logs, hits }))
    }

    /// Returns the number of open connections, and their maximum.
    pub(super) fn used(&self) -> Used {
        Used { used: lock(&self.0.open).total, max: self.0.limits.total.connections }
    }

    /// Counts one more connection; none, and a log line, if the total limit or the limit of its origin is reached.
    pub(super) fn acquire(&self, origin: Origin) -> Option<ConnectionPermit> {
        match self.0.enter(origin) {
            Ok(()) => Some(ConnectionPermit { inner: Arc::clone(&self.0), origin }),
            Err(reached) => {
                self.0.report(reached, origin);
                None
            }
        }
    }
}

impl Inner {
    /// Counts one more connection, or returns the limit that is reached.
    fn enter(&self, origin: Origin) -> Result<(), Scope> {
        let mut open = lock(&self.open);
        let of_origin = open.by_origin.get(&origin).copied().unwrap_or_default();
        if of_origin >= self.limits.get(Scope::of(origin)).connections {
            return Err(Scope::of(origin));
        }
        if open.total >= self.limits.total.connections {
            return Err(Scope::Total);
        }
        open.total += 1;
        open.by_origin.insert(origin, of_origin + 1);
        Ok(())
    }

    /// Logs at most one line a minute for each limit: peers decide how often it is reached.
    fn report(&self, reached: Scope, origin: Origin) {
        self.hits.count(match reached {
            Scope::Total => LimitName::Connections,
            Scope::Address => LimitName::ConnectionsPerAddress,
            Scope::Uid => LimitName::ConnectionsPerUid,
        });
        if self.logs.get(reached).is_due(self.created.elapsed()) {
            let &Limit { connections: limit, setting } = self.limits.get(reached);
            let suppressed_for = humantime::format_duration(log_throttle::INTERVAL);
            warn!(?origin, limit, setting, %suppressed_for, "connection rejected: connection limit reached");
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = lock(&self.inner.open);
        open.total -= 1;
        if let Some(count) = open.by_origin.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                open.by_origin.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    fn limits() -> ConnectionLimits {
        ConnectionLimits { total: Limit::fixed(3), per_address: Limit::fixed(2), per_uid: Limit::fixed(2) }
    }

    #[test]
    fn permits_are_limited_in_total_and_per_origin_until_dropped() {
        let connections = ConnectionCounter::new(limits(), LimitHits::new(&mut Registry::default()));
        let (a, b) = (Origin::Uid(1), Origin::of([127, 0, 0, 1].into()));
        let first = connections.acquire(a);
        let second = connections.acquire(a);
        assert!(first.is_some() && second.is_some());
        assert!(connections.acquire(a).is_none(), "limit of the origin");
        let third = connections.acquire(b);
        assert!(third.is_some());
        assert!(connections.acquire(b).is_none(), "total limit");
        drop(first);
        assert!(connections.acquire(b).is_some());
        drop((second, third));
        assert!(lock(&connections.0.open).by_origin.is_empty(), "an origin without connections takes no memory");
    }

    #[tokio::test(start_paused = true)]
    async fn rejected_connections_are_logged_once_a_minute_for_each_limit() {
        let connections = ConnectionCounter::new(limits(), LimitHits::new(&mut Registry::default()));
        let (users, address) = ([1, 2, 3].map(Origin::Uid), Origin::of([127, 0, 0, 1].into()));
        let is_due = |scope: Scope| connections.0.logs.get(scope).is_due(connections.0.created.elapsed());
        let _open = [connections.acquire(users[0]), connections.acquire(users[0]), connections.acquire(users[1])];
        assert!(connections.acquire(users[0]).is_none() && connections.acquire(users[2]).is_none());
        assert_eq!([Scope::Uid, Scope::Total, Scope::Address].map(is_due), [false, false, true]);
        tokio::time::advance(log_throttle::INTERVAL).await;
        assert!(connections.acquire(address).is_none(), "the total limit");
        assert_eq!([Scope::Uid, Scope::Total, Scope::Address].map(is_due), [true, false, true]);
    }
}
