//! Connection limits: how many connections may be open, in total and from one origin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::settings::Settings;
use crate::limits::Origin;
use crate::sync::lock;

/// The most connections that may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectionLimits {
    pub(super) total: usize,
    pub(super) per_address: usize,
    pub(super) per_uid: usize,
}

/// Counts open connections. A clone is a handle of the same count.
#[derive(Debug, Clone)]
pub(super) struct ConnectionCounter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: ConnectionLimits,
    open: Mutex<Open>,
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

impl ConnectionLimits {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            total: settings.max_connections,
            per_address: settings.max_connections_per_address,
            per_uid: settings.max_connections_per_uid,
        }
    }

    fn per_origin(&self, origin: Origin) -> usize {
        match origin {
            Origin::Network(_) | Origin::AwsApi => self.per_address,
            Origin::Uid(_) => self.per_uid,
        }
    }
}

impl ConnectionCounter {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(Inner { limits, open: Mutex::default() }))
    }

    /// Counts one more connection; none if the total limit or the limit of its origin is reached.
    pub(super) fn acquire(&self, origin: Origin) -> Option<ConnectionPermit> {
        let Inner { limits, open } = &*self.0;
        let mut open = lock(open);
        let of_origin = open.by_origin.get(&origin).copied().unwrap_or_default();
        if open.total >= limits.total || of_origin >= limits.per_origin(origin) {
            return None;
        }
        open.total += 1;
        open.by_origin.insert(origin, of_origin + 1);
        Some(ConnectionPermit { inner: Arc::clone(&self.0), origin })
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

    #[test]
    fn permits_are_limited_in_total_and_per_origin_until_dropped() {
        let connections = ConnectionCounter::new(ConnectionLimits { total: 3, per_address: 2, per_uid: 2 });
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
}
