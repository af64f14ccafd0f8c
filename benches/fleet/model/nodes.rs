//! Nodes: their starts, their requests, and the credentials that they get.

use super::super::event::Event;
use super::super::farm::Shape;
use super::super::fetcher::{UnitId, Waiter};
use super::super::figures::{CORES, HANDSHAKE_CPU, HIT_CPU};
use super::World;

/// Time over which the watches of a lost central broker begin again.
const REWATCH: f64 = 30.0;
/// Age at which a node refreshes a credential.
pub(super) const REFRESH_AFTER: f64 = 3_600.0;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Node {
    life: u32,
    started: f64,
    joins: bool,
    delivered: u32,
}

impl World<'_> {
    pub(super) fn start_node(&mut self, node: u32, joins: bool) {
        let life = self.nodes[node as usize].life + 1;
        self.nodes[node as usize] = Node { life, started: self.now, joins, delivered: 0 };
        let fetcher = self.plan.fetcher_of(node);
        let mut arrival = self.now;
        if self.plan.shape == Shape::Alone {
            self.fetchers[fetcher as usize].restart();
            self.name_identity(fetcher);
        } else {
            // TCP and TLS take two round trips.
            arrival = self.work(fetcher, HANDSHAKE_CPU) + 2.5 * self.plan.farm.round_trip;
        }
        for key in 0..self.plan.keys() {
            self.events.add(arrival, Event::Ask { node, key, life });
        }
    }

    /// A central broker starts with an empty cache. Its nodes connect to another, and watch again.
    pub(super) fn start_parent(&mut self, parent: u32) {
        self.fetchers[parent as usize].restart();
        self.name_identity(parent);
        if !self.plan.shape.watches() {
            return;
        }
        for node in (0..self.plan.farm.nodes).filter(|node| self.plan.fetcher_of(*node) == parent) {
            let (at, life) = (self.now + self.random.between(0.0, REWATCH), self.nodes[node as usize].life);
            for key in 0..self.plan.keys() {
                self.events.add(at, Event::Ask { node, key, life });
            }
        }
    }

    pub(super) fn ask(&mut self, node: u32, key: u32, life: u32) {
        let fetcher = self.plan.fetcher_of(node);
        let unit = UnitId { fetcher, unit: self.plan.unit_of(key) };
        let waiter = Waiter { node, key, life };
        let answered = self.work(fetcher, HIT_CPU);
        let now = self.now;
        let Some(held) = self.unit(unit).usable(now) else {
            self.unit(unit).waiters.push(waiter);
            self.start_fetch(unit);
            return;
        };
        self.send(waiter, answered);
        if held.refresh_at <= now {
            self.start_fetch(unit);
        }
    }

    /// Sends a credential to a node.
    pub(super) fn send(&mut self, waiter: Waiter, at: f64) {
        let Waiter { node, key, life } = waiter;
        let way = if self.plan.shape == Shape::Alone { 0.0 } else { self.plan.farm.round_trip / 2.0 };
        self.events.add(at.max(self.now) + way, Event::Deliver { node, key, life });
    }

    pub(super) fn deliver(&mut self, node: u32, key: u32, life: u32) {
        let state = &mut self.nodes[node as usize];
        if state.life != life {
            return;
        }
        state.delivered += 1;
        if state.joins && state.delivered == 1 {
            self.first.push(self.now - state.started);
        }
        if state.joins && state.delivered == self.plan.keys() {
            self.all.push(self.now - state.started);
        }
        if self.plan.shape == Shape::Unary {
            let at = self.now + self.random.around(REFRESH_AFTER) + self.random.wait(self.reads());
            self.events.add(at, Event::ChildRefresh { node, key, life });
        }
    }

    pub(super) fn refresh_child(&mut self, node: u32, key: u32, life: u32) {
        if self.nodes[node as usize].life == life {
            self.events.add(self.now + self.plan.farm.round_trip / 2.0, Event::Ask { node, key, life });
        }
    }

    /// Returns the reads of one key of a node, per second.
    pub(super) fn reads(&self) -> f64 {
        self.plan.farm.pulls_per_hour / 3_600.0 / f64::from(self.plan.keys())
    }

    /// Returns the time at which a broker has done further work.
    pub(super) fn work(&mut self, fetcher: u32, cpu: f64) -> f64 {
        let cores = if self.plan.shape == Shape::Alone { 1.0 } else { CORES };
        let busy_until = &mut self.fetchers[fetcher as usize].busy_until;
        *busy_until = busy_until.max(self.now) + cpu / cores;
        *busy_until
    }
}
