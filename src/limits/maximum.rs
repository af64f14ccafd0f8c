//! The limits of one caller: those of the first entry that names it, else the general ones.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::exceeded::Resource;
use super::settings::{CallerLimits, Settings};
use crate::caller::Principal;

/// Global limit of requests in flight; twice the general limit of one caller if that is more. If callers read slowly, the answers to
/// this many requests take about 300 MB.
pub(super) const MAX_IN_FLIGHT: usize = 32_768;
/// Global limit of watched registries. One caller may use half of it, or what an entry says.
pub const MAX_WATCHES: usize = 65_536;

/// An amount of each resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Maximum {
    in_flight: usize,
    watches: usize,
    watch_bytes: usize,
}

/// The limits of every caller. They are looked up once for each caller that is remembered.
#[derive(Debug)]
pub(super) struct Maximums {
    settings: Settings,
    global: Maximum,
    general: Arc<Maximum>,
    /// Those of each entry, in the entries' order.
    named: Vec<Arc<Maximum>>,
}

impl Maximum {
    pub(super) fn of(&self, resource: Resource) -> usize {
        match resource {
            Resource::InFlight => self.in_flight,
            Resource::Watches => self.watches,
            Resource::WatchBytes => self.watch_bytes,
        }
    }
}

impl Maximums {
    pub(super) fn new(settings: Settings) -> Self {
        let general = Maximum {
            in_flight: settings.in_flight,
            watches: Settings::general_watches(),
            watch_bytes: settings.watch_memory_per_caller,
        };
        let global =
            Maximum { in_flight: settings.max_in_flight(), watches: MAX_WATCHES, watch_bytes: settings.watch_memory };
        let named = settings.callers.iter().map(|entry| Arc::new(entry.maximum(general))).collect();
        Self { settings, global, general: Arc::new(general), named }
    }

    /// Returns the global limits, which no entry raises.
    pub(super) fn global(&self) -> &Maximum {
        &self.global
    }

    /// Returns a caller's requests per second, and its other limits.
    pub(super) fn of(&self, principal: &Principal) -> (NonZeroU32, Arc<Maximum>) {
        let general = self.settings.general_rate(principal.is_local());
        let mut entries = self.settings.callers.iter().zip(&self.named);
        let named = entries.find(|(entry, _)| entry.callers.iter().any(|pattern| pattern.matches_principal(principal)));
        match named {
            Some((entry, maximum)) => (entry.requests_per_second.unwrap_or(general), Arc::clone(maximum)),
            None => (general, Arc::clone(&self.general)),
        }
    }
}

impl CallerLimits {
    fn maximum(&self, general: Maximum) -> Maximum {
        Maximum {
            in_flight: self.in_flight.unwrap_or(general.in_flight),
            watches: self.watches.unwrap_or(general.watches),
            watch_bytes: self.watch_memory_per_caller.unwrap_or(general.watch_bytes),
        }
    }
}

impl Settings {
    /// Returns the limit of requests in flight of all callers together. No entry of a named caller raises it.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        MAX_IN_FLIGHT.max(self.in_flight.saturating_mul(2))
    }

    /// Returns the requests per second of one caller that no entry names.
    #[must_use]
    pub fn general_rate(&self, is_local: bool) -> NonZeroU32 {
        if is_local { self.local_requests_per_second } else { self.requests_per_second }
    }

    /// Returns the number of registries that one caller may watch if no entry names it.
    #[must_use]
    pub const fn general_watches() -> usize {
        MAX_WATCHES / 2
    }
}
