use proptest::prelude::*;

use super::*;
use crate::credential::{ProfileName, Revision};

const SECOND: Duration = Duration::from_secs(1);

fn key(number: usize) -> CredentialKey {
    let registry = format!("{number:012}.dkr.ecr.eu-central-1.amazonaws.com").parse().unwrap();
    CredentialKey {
        registry,
        profile: ProfileName::default_profile(),
        revision: Revision::default(),
        caller: None,
        lifetime: None,
    }
}

fn id(number: usize) -> CredentialId {
    CredentialId::parse(&format!("{number:032x}")).unwrap()
}

/// A set, with the time that its operations see.
struct Test {
    set: WatchSet,
    now: Instant,
}

impl Test {
    fn new() -> Self {
        Self { set: WatchSet::new(10_000), now: Instant::now() }
    }

    /// Adds keys that were fetched together.
    fn add(&mut self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.set.add(key(number), id(number), self.now);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Returns the watches to open now, with the numbers of their keys.
    fn next_watches(&mut self) -> Vec<(WatchId, usize)> {
        std::iter::from_fn(|| self.set.next_to_open(self.now)).map(|watch| (watch.id, watch.keys.len())).collect()
    }

    /// Adds keys, and opens their watch.
    fn open(&mut self, numbers: std::ops::Range<usize>) -> (WatchId, Vec<WatchId>) {
        self.add(numbers);
        self.pass(SECOND);
        let [(watch, _)] = self.next_watches()[..] else { panic!("one watch") };
        (watch, self.set.opened(watch, self.now))
    }

    fn push(&mut self, number: usize, outcome: Outcome, uses: u64) -> Vec<WatchId> {
        self.set.adopted(&key(number), Some(id(number + 1_000_000)), Adopted { outcome, uses })
    }
}

#[tokio::test]
async fn new_keys_are_collected_for_a_second() {
    let mut test = Test::new();
    assert_eq!((test.next_watches(), test.set.next_time()), (Vec::new(), None));
    test.add(0..10);
    test.pass(SECOND / 2);
    test.add(5..20);
    assert_eq!(test.next_watches(), []);
    assert_eq!(test.set.next_time(), Some(test.now + SECOND / 2));
    test.pass(SECOND / 2);
    let ToOpen { keys, .. } = test.set.next_to_open(test.now).unwrap();
    assert_eq!(keys, (0..20).map(|number| (key(number), id(number))).collect::<Vec<_>>());
    assert_eq!((test.next_watches(), test.set.next_time()), (Vec::new(), None));
}

#[tokio::test]
async fn watch_has_at_most_100_keys() {
    let mut test = Test::new();
    test.add(0..250);
    test.pass(SECOND);
    let counts: Vec<_> = test.next_watches().into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, [100, 100, 50]);
}

#[tokio::test]
async fn third_small_watch_takes_over_the_others_once_it_is_open() {
    let mut test = Test::new();
    let (first, _) = test.open(0..20);
    let (second, taken_over) = test.open(20..21);
    assert_eq!(taken_over, []);
    test.add(21..22);
    test.pass(SECOND);
    let [(third, 22)] = test.next_watches()[..] else { panic!("all keys in one watch") };
    assert_eq!((test.set.key(first, 0), test.set.key(third, 21)), (Some(&key(0)), Some(&key(19))));
    assert_eq!(test.set.opened(third, test.now), [second, first]);
    assert_eq!((test.set.key(first, 0), test.set.open_watches()), (None, 1));
}

#[tokio::test]
async fn watch_that_fails_to_take_over_leaves_the_others_open() {
    let mut test = Test::new();
    let (first, second) = (test.open(0..20).0, test.open(20..21).0);
    test.add(21..22);
    test.pass(SECOND);
    let [(third, 22)] = test.next_watches()[..] else { panic!("all keys in one watch") };
    test.set.ended(third, End::Lost, test.now);
    assert_eq!((test.set.key(first, 0), test.set.key(second, 0)), (Some(&key(0)), Some(&key(20))));
    assert_eq!((test.set.key(third, 0), test.set.key(third, 1)), (Some(&key(21)), None));
    assert_eq!(test.set.open_watches(), 2);
}

#[tokio::test]
async fn reconnect_merges_watches_that_wait_and_new_keys() {
    let mut test = Test::new();
    let watches = [test.open(0..80).0, test.open(80..130).0];
    for watch in watches {
        test.set.ended(watch, End::Lost, test.now);
    }
    test.add(130..135);
    test.pass(SECOND / 2);
    assert!(test.set.next_time().is_some_and(|at| at <= test.now + 30 * SECOND));
    test.pass(30 * SECOND);
    let mut counts: Vec<_> = test.next_watches().into_iter().map(|(_, count)| count).collect();
    counts.sort_unstable();
    assert_eq!(counts.iter().sum::<usize>(), 135, "{counts:?}");
    assert!(counts.len() <= 3 && counts.iter().all(|count| *count <= 100), "{counts:?}");
    let mut test = Test::new();
    let watches = [test.open(0..20).0, test.open(20..30).0];
    for watch in watches {
        test.set.ended(watch, End::Lost, test.now);
    }
    test.pass(30 * SECOND);
    assert_eq!(test.next_watches().into_iter().map(|(_, count)| count).collect::<Vec<_>>(), [30]);
}

#[tokio::test]
async fn key_leaves_after_three_pushes_without_a_use() {
    let mut test = Test::new();
    let (watch, _) = test.open(0..2);
    for uses in 1..=3 {
        assert_eq!(
            (test.push(0, Outcome::Replaced, 7), test.push(1, Outcome::Replaced, uses)),
            (Vec::new(), Vec::new())
        );
    }
    assert_eq!((test.push(0, Outcome::Replaced, 7), test.set.keys()), (Vec::new(), 1));
    assert_eq!((test.set.key(watch, 0), test.set.key(watch, 1)), (None, Some(&key(1))));
    for _ in 0..2 {
        assert_eq!(test.push(1, Outcome::Replaced, 3), []);
    }
    assert_eq!((test.push(1, Outcome::Replaced, 3), test.set.keys()), (vec![watch], 0));
}

#[tokio::test]
async fn key_that_is_absent_or_denied_leaves_and_comes_back_after_a_fetch() {
    for outcome in [Outcome::Absent, Outcome::Dropped] {
        let mut test = Test::new();
        let (watch, _) = test.open(0..2);
        assert_eq!((test.push(0, outcome, 0), test.set.key(watch, 0)), (Vec::new(), None));
        test.add(0..1);
        assert_eq!((test.set.key(watch, 0), test.set.next_time()), (Some(&key(0)), None), "the watch has it still");
        assert_eq!((test.push(0, outcome, 0), test.push(1, outcome, 0)), (Vec::new(), vec![watch]));
        test.add(0..1);
        test.pass(SECOND);
        assert_eq!(test.next_watches().len(), 1);
    }
}

#[tokio::test]
async fn key_is_known_by_its_last_fetched_or_adopted_credential() {
    let mut test = Test::new();
    let (watch, _) = test.open(0..4);
    assert!(!test.set.is_confirmed(&key(1)));
    test.push(1, Outcome::Replaced, 1);
    test.push(2, Outcome::Ignored, 1);
    assert!(test.set.is_confirmed(&key(1)));
    test.set.add(key(3), id(33), test.now);
    test.set.ended(watch, End::Orderly, test.now);
    test.pass(2 * SECOND);
    let ToOpen { keys, .. } = test.set.next_to_open(test.now).unwrap();
    let known: Vec<_> = keys.into_iter().map(|(_, known)| known).collect();
    assert_eq!(known, [id(0), id(1_000_001), id(2), id(33)]);
}

#[tokio::test]
async fn p8_watched_keys_are_bounded() {
    let mut test = Test { set: WatchSet::new(50), now: Instant::now() };
    test.add(0..80);
    test.pass(SECOND);
    assert_eq!((test.set.keys(), test.next_watches().len()), (50, 1));
    test.push(0, Outcome::Absent, 0);
    test.add(90..99);
    assert_eq!(test.set.keys(), 50);
}

#[tokio::test]
async fn refusal_holds_back_every_watch_until_one_opens() {
    let mut test = Test::new();
    let (first, _) = test.open(0..100);
    test.add(100..101);
    test.pass(SECOND);
    let [(second, 1)] = test.next_watches()[..] else { panic!("a further watch") };
    test.set.ended(second, End::Refused { retry_after: None }, test.now);
    test.set.ended(first, End::Orderly, test.now);
    test.add(101..102);
    test.pass(59 * SECOND);
    assert_eq!(test.next_watches(), [], "the parent refuses watches for a minute");
    test.pass(31 * SECOND);
    let opened = test.next_watches();
    assert_eq!(opened.iter().map(|(_, count)| count).sum::<usize>(), 102);
    test.set.ended(opened[0].0, End::Refused { retry_after: Some(200 * SECOND) }, test.now);
    assert!(test.set.next_time().is_some_and(|at| at >= test.now + 200 * SECOND));
    test.set.opened(opened[1].0, test.now);
    assert!(test.set.next_time().is_some_and(|at| at <= test.now));
}

/// What may happen to a set.
#[derive(Debug, Clone)]
enum Step {
    Add(usize),
    Pass(u8),
    Open,
    Opened(usize),
    Ended(usize, bool),
    Left(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..400_usize).prop_map(Step::Add),
        2 => (0..40_u8).prop_map(Step::Pass),
        4 => Just(Step::Open),
        3 => (0..8_usize).prop_map(Step::Opened),
        2 => (0..8_usize, any::<bool>()).prop_map(|(watch, lost)| Step::Ended(watch, lost)),
        1 => (0..400_usize).prop_map(Step::Left),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// No key is lost, whatever happens: it waits, or is in a watch that is open or opens again.
    #[test]
    fn every_key_stays_in_a_watch_of_at_most_100(steps in proptest::collection::vec(step(), 1..100)) {
        let mut test = Test { set: WatchSet::new(300), now: Instant::now() };
        for step in steps {
            let watch = |at: usize, set: &WatchSet| set.watches.keys().nth(at).copied();
            match step {
                Step::Add(number) => test.add(number..number + 60),
                Step::Pass(seconds) => test.pass(u32::from(seconds) * SECOND),
                Step::Open => _ = test.next_watches(),
                Step::Opened(at) => {
                    let opening = watch(at, &test.set).filter(|id| test.set.watches[id].state == State::Opening);
                    opening.map(|id| test.set.opened(id, test.now));
                }
                Step::Ended(at, lost) => {
                    let end = if lost { End::Lost } else { End::Orderly };
                    if let Some(id) = watch(at, &test.set) {
                        test.set.ended(id, end, test.now);
                    }
                }
                Step::Left(number) => _ = test.push(number, Outcome::Absent, 0),
            }
            let set = &test.set;
            prop_assert!(set.keys.len() <= 300 && set.watches.values().all(|watch| watch.keys.len() <= 100));
            for key in set.keys.keys() {
                let is_own = set.watches.values().any(|watch| watch.keys[..watch.own].contains(key));
                prop_assert!(is_own || set.new.contains(key), "{key:?}");
            }
            prop_assert!(set.new.is_empty() || set.collected_at.is_some());
        }
        // All ends: every key is in one watch again.
        for id in test.set.watches.keys().copied().collect::<Vec<_>>() {
            test.set.ended(id, End::Lost, test.now);
        }
        test.pass(31 * SECOND);
        test.next_watches();
        let mut keys: Vec<_> = test.set.watches.values().flat_map(|watch| &watch.keys).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        prop_assert_eq!((keys.len(), count), (test.set.keys.len(), test.set.keys.len()));
    }
}
