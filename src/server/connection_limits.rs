//! Connection limits: how many connections may be open, in total and from one origin.
//!
//! A connection costs its peer nothing, so a few origins could hold all places and shut out the others. At the limit of all, the oldest
//! connection of the origin with most is closed for one of an origin with fewer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
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
    next: u64,
    total: usize,
    /// The end of each connection of an origin, the oldest first.
    by_origin: HashMap<Origin, BTreeMap<u64, CancellationToken>>,
}

/// A counted connection; dropping the permit gives its place back.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    inner: Arc<Inner>,
    origin: Origin,
    id: u64,
    end: CancellationToken,
}

/// What became of a new connection at the limit of all.
#[derive(Debug, Clone, Copy)]
enum Reached {
    /// It is refused by the limit of this scope.
    Refused(Scope),
    /// An older one makes room.
    MadeRoom,
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
        let (entered, reached) = self.0.enter(origin);
        if let Some(reached) = reached {
            self.0.report(reached, origin);
        }
        entered.map(|(id, end)| ConnectionPermit { inner: Arc::clone(&self.0), origin, id, end })
    }
}

impl ConnectionPermit {
    /// Completes when the connection must make room for another one.
    pub(super) async fn ended(&self) {
        self.end.cancelled().await;
    }
}

impl Open {
    fn of(&self, origin: Origin) -> usize {
        self.by_origin.get(&origin).map_or(0, BTreeMap::len)
    }

    fn add(&mut self, origin: Origin) -> (u64, CancellationToken) {
        let (id, end) = (self.next, CancellationToken::new());
        (self.next, self.total) = (self.next + 1, self.total + 1);
        self.by_origin.entry(origin).or_default().insert(id, end.clone());
        (id, end)
    }

    fn remove(&mut self, origin: Origin, id: u64) -> Option<CancellationToken> {
        let of_origin = self.by_origin.get_mut(&origin)?;
        let end = of_origin.remove(&id)?;
        if of_origin.is_empty() {
            self.by_origin.remove(&origin);
        }
        self.total -= 1;
        Some(end)
    }

    /// Ends the oldest connection of the origin with most, if it has more than `origin`. Returns whether there is one.
    fn make_room(&mut self, origin: Origin) -> bool {
        let oldest = |ends: &BTreeMap<u64, CancellationToken>| ends.keys().next().copied();
        let most = self.by_origin.iter().max_by_key(|(_, ends)| (ends.len(), std::cmp::Reverse(oldest(ends))));
        let Some((&largest, ends)) = most.filter(|(_, ends)| ends.len() > self.of(origin)) else { return false };
        let end = oldest(ends).and_then(|id| self.remove(largest, id));
        end.inspect(CancellationToken::cancel).is_some()
    }
}

impl Inner {
    /// Counts one more connection, and returns the limit that is reached.
    fn enter(&self, origin: Origin) -> (Option<(u64, CancellationToken)>, Option<Reached>) {
        let mut open = lock(&self.open);
        if open.of(origin) >= self.limits.get(Scope::of(origin)).connections {
            return (None, Some(Reached::Refused(Scope::of(origin))));
        }
        if open.total < self.limits.total.connections {
            return (Some(open.add(origin)), None);
        }
        if !open.make_room(origin) {
            return (None, Some(Reached::Refused(Scope::Total)));
        }
        (Some(open.add(origin)), Some(Reached::MadeRoom))
    }

    /// Logs at most one line a minute for each limit: peers decide how often it is reached.
    fn report(&self, reached: Reached, origin: Origin) {
        let (scope, event) = match reached {
            Reached::Refused(scope) => (scope, "connection rejected: connection limit reached"),
            Reached::MadeRoom => (Scope::Total, "connection closed for another one: connection limit reached"),
        };
        self.hits.count(match scope {
            Scope::Total => LimitName::Connections,
            Scope::Address => LimitName::ConnectionsPerAddress,
            Scope::Uid => LimitName::ConnectionsPerUid,
        });
        if self.logs.get(scope).is_due(self.created.elapsed()) {
            let &Limit { connections: limit, setting } = self.limits.get(scope);
            let suppressed_for = humantime::format_duration(log_throttle::INTERVAL);
            warn!(?origin, limit, setting, %suppressed_for, "{event}");
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        lock(&self.inner.open).remove(self.origin, self.id);
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
        assert!(connections.acquire(a).is_none(), "limit of the origin");
        drop(first);
        let fourth = connections.acquire(b);
        assert!(fourth.is_some());
        assert!(connections.acquire(a).is_some(), "it has fewer than the other");
        drop((second, third, fourth));
        assert!(lock(&connections.0.open).by_origin.is_empty(), "an origin without connections takes no memory");
    }

    #[tokio::test]
    async fn oldest_connection_of_the_origin_with_most_makes_room() {
        let limits =
            ConnectionLimits { total: Limit::fixed(6), per_address: Limit::fixed(3), per_uid: Limit::fixed(3) };
        let connections = ConnectionCounter::new(limits, LimitHits::new(&mut Registry::default()));
        let open = |uid| connections.acquire(Origin::Uid(uid));
        let greedy: Vec<_> = [1, 1, 1, 2, 2, 2].map(|uid| open(uid).expect("a place")).into();
        assert!(open(1).is_none(), "its own limit");
        let ended = |permits: &[ConnectionPermit]| permits.iter().map(|it| it.end.is_cancelled()).collect::<Vec<_>>();
        let honest = [3, 3].map(|uid| open(uid).expect("a place"));
        greedy[0].ended().await;
        assert_eq!(ended(&greedy), [true, false, false, true, false, false], "the oldest of each");
        assert_eq!((connections.used().used, ended(&honest)), (6, vec![false; 2]));
        assert!(open(3).is_none(), "no other has more");
        drop(greedy);
        assert_eq!(connections.used().used, 2);
        drop(honest);
        assert!(lock(&connections.0.open).by_origin.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn rejected_connections_are_logged_once_a_minute_for_each_limit() {
        let connections = ConnectionCounter::new(limits(), LimitHits::new(&mut Registry::default()));
        let (users, address) = ([1, 2, 3].map(Origin::Uid), Origin::of([127, 0, 0, 1].into()));
        let is_due = |scope: Scope| connections.0.logs.get(scope).is_due(connections.0.created.elapsed());
        let _open = [connections.acquire(users[0]), connections.acquire(users[0]), connections.acquire(users[1])];
        assert!(connections.acquire(users[0]).is_none());
        let more = connections.acquire(users[2]);
        assert!(more.is_some(), "another one makes room");
        assert_eq!([Scope::Uid, Scope::Total, Scope::Address].map(is_due), [false, false, true]);
        tokio::time::advance(log_throttle::INTERVAL).await;
        assert!(connections.acquire(address).is_some(), "another one makes room");
        assert_eq!([Scope::Uid, Scope::Total, Scope::Address].map(is_due), [true, false, true]);
    }
}
