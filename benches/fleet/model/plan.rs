//! The plan of a run: which broker fetches what, and when brokers start.

use super::event::{Event, Events};
use super::farm::{Farm, Identity, Scope, Shape};
use super::random::Random;

/// Time before the join at which the first of the running nodes started.
pub(super) const WARM_UP: f64 = 7_200.0;
/// Time in which they started. The caches of all are an hour old at the join.
const STARTS: f64 = 3_600.0;

/// Who fetches what.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) farm: &'a Farm,
    pub(super) shape: Shape,
    pub(super) scope: Scope,
}

impl Plan<'_> {
    /// Returns the number of keys of a node; the last one is ECR Public, if the nodes use it.
    pub(super) fn keys(&self) -> u32 {
        self.farm.keys + u32::from(self.farm.public)
    }

    pub(super) fn fetchers(&self) -> u32 {
        if self.shape == Shape::Alone { self.farm.nodes } else { self.farm.parents }
    }

    pub(super) fn fetcher_of(&self, node: u32) -> u32 {
        if self.shape == Shape::Alone { node } else { node % self.farm.parents }
    }

    fn private_units(&self) -> u32 {
        if self.scope == Scope::Account { self.farm.keys } else { self.farm.regions.min(self.farm.keys) }
    }

    /// Returns the number of credentials of a broker that fetches.
    pub(super) fn units(&self) -> u32 {
        self.private_units() + u32::from(self.farm.public)
    }

    pub(super) fn unit_of(&self, key: u32) -> u32 {
        if key < self.farm.keys { key % self.private_units() } else { self.private_units() }
    }

    /// Returns the keys that a credential serves.
    pub(super) fn keys_of(&self, unit: u32) -> f64 {
        (0..self.keys()).filter(|key| self.unit_of(*key) == unit).count() as f64
    }

    /// Returns the quota's number of a credential; `None` for ECR Public.
    pub(super) fn quota_of(&self, unit: u32) -> Option<u32> {
        (unit < self.private_units()).then_some(unit)
    }

    pub(super) fn regions(&self) -> u32 {
        self.farm.regions + 1
    }

    /// Returns the region of a credential; that of ECR Public comes last.
    pub(super) fn region_of(&self, unit: u32) -> u32 {
        self.quota_of(unit).map_or(self.farm.regions, |quota| quota % self.farm.regions)
    }

    /// Returns whether a role session must be assumed for a credential.
    pub(super) fn needs_session(&self, unit: u32) -> bool {
        self.farm.identity == Identity::Role && self.quota_of(unit).is_some()
    }

    pub(super) fn end(&self) -> f64 {
        self.farm.hours * 3_600.0
    }

    /// Schedules the starts: running nodes in the hour before the last, joining ones in the time of the join, and restarts in turn.
    pub(super) fn schedule(&self, events: &mut Events, random: &mut Random) {
        let running = self.farm.nodes - self.farm.joining;
        for node in 0..running {
            events.add(random.between(0.0, STARTS) - WARM_UP, Event::NodeStart { node, joins: false });
        }
        for node in running..self.farm.nodes {
            events.add(random.between(0.0, self.farm.join_time), Event::NodeStart { node, joins: true });
        }
        for (at, node) in self.restarts(self.farm.nodes) {
            events.add(at, Event::NodeStart { node, joins: false });
        }
        if self.shape != Shape::Alone {
            for (at, parent) in self.restarts(self.farm.parents) {
                events.add(at, Event::ParentStart { parent });
            }
        }
    }

    /// Returns the restarts of so many brokers, evenly after the join.
    fn restarts(&self, brokers: u32) -> impl Iterator<Item = (f64, u32)> {
        let (start, brokers_in_all) = (self.farm.join_time, f64::from(brokers));
        let count = (brokers_in_all * self.farm.restarts_per_day * self.farm.hours / 24.0).round() as u32;
        let interval = (self.end() - start).max(0.0) / f64::from(count.max(1));
        (0..count).map(move |number| (start + (f64::from(number) + 0.5) * interval, number % brokers))
    }
}
