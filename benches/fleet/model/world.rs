//! The state of one run, and what each event does to it.

#[path = "fetch.rs"]
mod fetch;
#[path = "nodes.rs"]
mod nodes;

use self::nodes::Node;
use super::aws::Aws;
use super::event::{Event, Events};
use super::farm::{Farm, Scope, Shape};
use super::fetcher::{Fetcher, UnitId};
use super::memory::Memory;
use super::outcome::{Calls, Outcome, Times};
use super::plan::Plan;
use super::random::Random;
use super::tier::Tier;

#[derive(Debug)]
struct World<'a> {
    plan: Plan<'a>,
    now: f64,
    events: Events,
    random: Random,
    aws: Aws,
    tier: Tier,
    fetchers: Vec<Fetcher>,
    nodes: Vec<Node>,
    versions: u64,
    first: Vec<f64>,
    all: Vec<f64>,
}

/// Runs a farm in one shape.
pub(crate) fn simulate(farm: &Farm, shape: Shape, scope: Scope) -> Outcome {
    let plan = Plan { farm, shape, scope };
    let fetcher = || Fetcher::new(plan.units() as usize, plan.regions() as usize);
    let mut world = World {
        now: f64::MIN,
        events: Events::default(),
        random: Random::new(farm.seed),
        aws: Aws::new(farm, scope),
        tier: Tier::new(plan.units() as usize),
        fetchers: std::iter::repeat_with(fetcher).take(plan.fetchers() as usize).collect(),
        nodes: vec![Node::default(); farm.nodes as usize],
        versions: 0,
        first: Vec::new(),
        all: Vec::new(),
        plan,
    };
    world.run();
    world.outcome()
}

impl World<'_> {
    fn run(&mut self) {
        self.plan.schedule(&mut self.events, &mut self.random);
        if self.plan.shape != Shape::Alone {
            (0..self.plan.fetchers()).for_each(|parent| self.name_identity(parent));
        }
        let end = self.plan.end().max(self.plan.farm.join_time) + 60.0;
        while let Some((at, event)) = self.events.next().filter(|(at, _)| *at <= end) {
            self.now = at;
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::NodeStart { node, joins } => self.start_node(node, joins),
            Event::ParentStart { parent } => self.start_parent(parent),
            Event::Ask { node, key, life } => self.ask(node, key, life),
            Event::Deliver { node, key, life } => self.deliver(node, key, life),
            Event::ChildRefresh { node, key, life } => self.refresh_child(node, key, life),
            Event::Refresh { unit, life, version } => self.refresh(unit, life, version),
            Event::Continue { unit, life } if self.is_alive(unit, life) => self.fetch(unit),
            Event::Pump { fetcher, region, life } if self.fetchers[fetcher as usize].life == life => {
                self.pump(fetcher, region);
            }
            Event::Answer { unit, life, service, is_admitted } if self.is_alive(unit, life) => {
                self.answer(unit, service, is_admitted);
            }
            Event::Adopt { unit, life, version } if self.is_alive(unit, life) => self.hold(unit, version),
            Event::Continue { .. } | Event::Pump { .. } | Event::Answer { .. } | Event::Adopt { .. } => {}
        }
    }

    fn is_alive(&self, unit: UnitId, life: u32) -> bool {
        self.fetchers[unit.fetcher as usize].life == life
    }

    fn outcome(self) -> Outcome {
        let (farm, end) = (self.plan.farm, self.plan.end());
        let (ecr, public, sts) = self.aws.counts();
        let calls = |counts: &[&_]| Calls::of(counts, farm.join_time, end);
        Outcome {
            ecr: calls(&ecr),
            public: calls(&[public]),
            sts: calls(&[sts]),
            tier: (self.plan.shape == Shape::Tier).then(|| calls(&[&self.tier.operations])),
            first: Times::of(self.first),
            all: Times::of(self.all),
            memory: Memory::of(farm, self.plan.shape),
        }
    }
}
