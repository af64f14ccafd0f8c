//! Fetches: leases of the shared tier, calls to AWS, their answers, and refreshes.

use super::super::admission::Turn;
use super::super::event::{Event, Service};
use super::super::farm::Shape;
use super::super::fetcher::{Held, Unit, UnitId};
use super::super::figures::{HIT_CPU, TIER_ROUND_TRIP};
use super::super::tier::TierAnswer;
use super::World;
use super::nodes::REFRESH_AFTER;

/// Life of a token, and of a role session.
const TOKEN_LIFE: f64 = 12.0 * 3_600.0;
const SESSION_LIFE: f64 = 3_600.0;
/// The first and the longest failure backoff.
const FIRST_BACKOFF: f64 = 0.5;
const MAX_BACKOFF: f64 = 30.0;
/// The shortest and the longest wait for the value that another replica fetches.
const FIRST_POLL: f64 = 0.025;
const MAX_POLL: f64 = 0.2;

impl World<'_> {
    pub(super) fn unit(&mut self, id: UnitId) -> &mut Unit {
        &mut self.fetchers[id.fetcher as usize].units[id.unit as usize]
    }

    fn life(&self, id: UnitId) -> u32 {
        self.fetchers[id.fetcher as usize].life
    }

    /// A broker asks STS once for the name of its identity.
    pub(super) fn name_identity(&mut self, _fetcher: u32) {
        self.aws.sts(self.now.max(-super::super::plan::WARM_UP));
    }

    /// Starts the fetch of a credential, unless one is in progress.
    pub(super) fn start_fetch(&mut self, id: UnitId) {
        if !std::mem::replace(&mut self.unit(id).is_fetching, true) {
            self.fetch(id);
        }
    }

    /// Asks the tier, or queues the call to AWS.
    pub(super) fn fetch(&mut self, id: UnitId) {
        if self.plan.shape != Shape::Tier {
            return self.queue(id);
        }
        let (life, now) = (self.life(id), self.now);
        let known = self.unit(id).held.map(|held| held.version);
        let fetchers = &self.fetchers;
        let is_alive = |holder: UnitId, life: u32| fetchers[holder.fetcher as usize].life == life;
        match self.tier.get_or_lease((id, life), known, is_alive, now) {
            TierAnswer::Value(version) => {
                self.events.add(now + TIER_ROUND_TRIP, Event::Adopt { unit: id, life, version });
            }
            TierAnswer::Leased => self.queue(id),
            TierAnswer::FailedUntil(until) => self.events.add(until, Event::Continue { unit: id, life }),
            TierAnswer::Held => {
                let polls = self.unit(id).polls;
                self.unit(id).polls += 1;
                let wait = (FIRST_POLL * 2_f64.powi(polls.min(8).cast_signed())).min(MAX_POLL);
                let wait = wait * self.random.between(1.0, 1.5);
                self.events.add(now + wait, Event::Continue { unit: id, life });
            }
        }
    }

    fn queue(&mut self, id: UnitId) {
        let region = self.plan.region_of(id.unit);
        self.fetchers[id.fetcher as usize].lanes[region as usize].queue.push_back(id.unit);
        self.pump(id.fetcher, region);
    }

    /// Starts the queued calls of a region that may start.
    pub(super) fn pump(&mut self, fetcher: u32, region: u32) {
        loop {
            let now = self.now;
            let broker = &mut self.fetchers[fetcher as usize];
            let life = broker.life;
            match broker.lanes[region as usize].turn(now) {
                Turn::Nothing => return,
                Turn::At(at) => return self.events.add(at, Event::Pump { fetcher, region, life }),
                Turn::Start(unit) => self.call(UnitId { fetcher, unit }),
            }
        }
    }

    fn call(&mut self, id: UnitId) {
        let now = self.now;
        self.unit(id).call_started = now;
        let needs_session = self.plan.needs_session(id.unit) && self.unit(id).session_until <= now;
        self.call_service(id, if needs_session { Service::Sts } else { Service::Ecr });
    }

    fn call_service(&mut self, id: UnitId, service: Service) {
        let quota = self.plan.quota_of(id.unit);
        let is_admitted = match service {
            Service::Sts => self.aws.sts(self.now),
            Service::Ecr => self.aws.token(quota, self.now),
        };
        let at = self.now + self.random.latency(self.plan.farm.latency);
        let life = self.life(id);
        self.events.add(at, Event::Answer { unit: id, life, service, is_admitted });
    }

    pub(super) fn answer(&mut self, id: UnitId, service: Service, is_admitted: bool) {
        let now = self.now;
        if service == Service::Sts && is_admitted {
            self.unit(id).session_until = now + SESSION_LIFE;
            return self.call_service(id, Service::Ecr);
        }
        let (region, started) = (self.plan.region_of(id.unit), self.unit(id).call_started);
        self.fetchers[id.fetcher as usize].lanes[region as usize].record(started, is_admitted, now);
        if is_admitted {
            self.versions += 1;
            if self.plan.shape == Shape::Tier {
                self.tier.put(id, self.versions, now);
            }
            self.hold(id, self.versions);
        } else {
            self.back_off(id);
        }
        self.pump(id.fetcher, region);
    }

    /// A throttled fetch starts again after its backoff. Its callers retry then.
    fn back_off(&mut self, id: UnitId) {
        let failures = self.unit(id).failures;
        self.unit(id).failures += 1;
        let backoff = (FIRST_BACKOFF * 2_f64.powi(failures.min(10).cast_signed())).min(MAX_BACKOFF);
        let until = self.now + backoff * self.random.between(1.0, 1.5);
        if self.plan.shape == Shape::Tier {
            self.tier.fail(id, until, self.now);
        }
        let life = self.life(id);
        self.events.add(until, Event::Continue { unit: id, life });
    }

    /// Caches a credential, answers the waiting nodes, and pushes it to the watching ones.
    pub(super) fn hold(&mut self, id: UnitId, version: u64) {
        let refresh_at = self.now + self.random.around(REFRESH_AFTER);
        let expires = self.now + TOKEN_LIFE;
        let unit = self.unit(id);
        let waiters = std::mem::take(&mut unit.waiters);
        unit.held = Some(Held { version, refresh_at, expires });
        (unit.is_fetching, unit.failures, unit.polls) = (false, 0, 0);
        for waiter in waiters {
            let answered = self.work(id.fetcher, HIT_CPU);
            self.send(waiter, answered);
        }
        if self.plan.shape.watches() {
            let watchers = self.plan.farm.nodes / self.plan.farm.parents;
            self.work(id.fetcher, HIT_CPU * f64::from(watchers) * self.plan.keys_of(id.unit));
        }
        self.schedule_refresh(id, version, refresh_at);
    }

    /// A watched credential is refreshed when it is due, another one at the next read. Reads of nodes are events already.
    fn schedule_refresh(&mut self, id: UnitId, version: u64, refresh_at: f64) {
        let read = match self.plan.shape {
            Shape::Unary => return,
            Shape::Watch | Shape::Tier => 0.0,
            Shape::Alone => {
                let reads = self.reads() * self.plan.keys_of(id.unit);
                self.random.wait(reads)
            }
        };
        let life = self.life(id);
        self.events.add(refresh_at + read, Event::Refresh { unit: id, life, version });
    }

    pub(super) fn refresh(&mut self, id: UnitId, life: u32, version: u64) {
        if self.life(id) == life && self.unit(id).held.is_some_and(|held| held.version == version) {
            self.start_fetch(id);
        }
    }
}
