use std::sync::Mutex as StdMutex;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::credential::{ProfileName, Revision};
use crate::error::{FailureClass, UpstreamError};
use crate::metrics::Registry;
use crate::source::SourceFuture;
use crate::source::push::{Adopted, Outcome};
use crate::sync::lock;

/// A watch that the driver has opened. Dropping it loses it.
struct Opened {
    keys: Vec<KnownKey>,
    items: UnboundedSender<WatchItem>,
    at: Instant,
}

#[derive(Debug)]
struct ScriptedOpener(UnboundedSender<Opened>);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl WatchOpener for ScriptedOpener {
    fn open(&self, keys: Vec<KnownKey>) -> BoxStream<'static, WatchItem> {
        let (items, mut receiver) = mpsc::unbounded_channel();
        self.0.send(Opened { keys, items, at: Instant::now() }).unwrap();
        let items = stream::poll_fn(move |context| receiver.poll_recv(context));
        items.chain(stream::iter([WatchItem::Ended(End::Lost)])).boxed()
    }
}

/// A sink that answers each update with the same outcome.
#[derive(Debug)]
struct ScriptedSink {
    outcome: StdMutex<Outcome>,
    pushed: UnboundedSender<(CredentialKey, Pushed)>,
}

impl PushSink for ScriptedSink {
    fn adopt<'a>(&'a self, key: &'a CredentialKey, pushed: Pushed) -> SourceFuture<'a, Adopted> {
        self.pushed.send((key.clone(), pushed)).unwrap();
        let outcome = *lock(&self.outcome);
        Box::pin(std::future::ready(Adopted { outcome, uses: 0 }))
    }
}

struct Test {
    watches: Watches,
    opened: mpsc::UnboundedReceiver<Opened>,
    pushed: mpsc::UnboundedReceiver<(CredentialKey, Pushed)>,
    sink: Arc<ScriptedSink>,
    running: JoinHandle<()>,
}

impl Test {
    fn start() -> Self {
        let (opens, opened) = mpsc::unbounded_channel();
        let (sender, pushed) = mpsc::unbounded_channel();
        let metrics = Metrics::new(&mut Registry::default());
        let (driver, watches) = WatchDriver::new("central", Arc::new(ScriptedOpener(opens)), 1_000, &metrics);
        let sink = Arc::new(ScriptedSink { outcome: StdMutex::new(Outcome::Confirmed), pushed: sender });
        let running = tokio::spawn({
            let sink = Arc::clone(&sink);
            async move { driver.run(&*sink).await }
        });
        Self { watches, opened, pushed, sink, running }
    }

    async fn open(&mut self, numbers: std::ops::Range<usize>) -> Opened {
        for number in numbers {
            self.watches.watch(&key(number), id(number));
        }
        let opened = self.opened.recv().await.unwrap();
        opened.items.send(WatchItem::SnapshotComplete).unwrap();
        opened
    }

    fn answer(&self, outcome: Outcome) {
        *lock(&self.sink.outcome) = outcome;
    }

    /// Sends an update, and returns the key that it was for.
    async fn update(&mut self, watch: &Opened, index: usize, pushed: Pushed) -> Option<CredentialKey> {
        watch.items.send(WatchItem::Update(index, Box::new(pushed))).ok()?;
        sleep(Duration::from_millis(1)).await;
        self.pushed.try_recv().ok().map(|(key, _)| key)
    }
}

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

fn failed(class: FailureClass) -> Pushed {
    Pushed::Failed(UpstreamError::aws(class).into())
}

#[tokio::test(start_paused = true)]
async fn fetched_keys_are_watched_after_a_second_and_their_updates_passed_on() {
    let (mut test, start) = (Test::start(), Instant::now());
    test.watches.watch(&CredentialKey { caller: Some(crate::caller::Principal::Uid(1)), ..key(9) }, id(9));
    let watch = test.open(0..2).await;
    assert_eq!(
        (watch.keys.as_slice(), watch.at - start),
        ([0, 1].map(|it| (key(it), id(it))).as_slice(), Duration::from_secs(1))
    );
    assert_eq!(test.update(&watch, 1, Pushed::Unchanged(id(1))).await, Some(key(1)));
    assert_eq!(test.update(&watch, 7, Pushed::Unchanged(id(1))).await, None, "an index that the watch does not have");
}

#[tokio::test(start_paused = true)]
async fn lost_watch_opens_again_within_30_seconds_and_a_moved_one_within_two() {
    let mut test = Test::start();
    let watch = test.open(0..2).await;
    let lost = Instant::now();
    drop(watch);
    let watch = test.open(0..0).await;
    assert!(watch.at - lost <= Duration::from_secs(30) && watch.keys.len() == 2);
    let moved = Instant::now();
    watch.items.send(WatchItem::Ended(End::Orderly)).unwrap();
    assert!(test.open(0..0).await.at - moved <= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn watches_of_200_children_return_spread_over_30_seconds() {
    let mut children: Vec<_> = (0..200).map(|_| Test::start()).collect();
    let open = join_all(children.iter_mut().map(|child| child.open(0..5))).await;
    drop(open);
    let returns = Instant::now() + Duration::from_mins(10);
    let returned = join_all(children.iter_mut().map(async |child| {
        loop {
            let opened = child.opened.recv().await.unwrap();
            if opened.at >= returns {
                return (opened.at - returns).as_secs();
            }
        }
    }));
    let returned = returned.await;
    let most = (0..10).map(|part| returned.iter().filter(|second| **second / 3 == part).count()).max();
    assert!(returned.iter().all(|second| *second <= 30) && most < Some(50), "{returned:?}");
}

#[tokio::test(start_paused = true)]
async fn denial_of_a_key_that_no_watch_had_is_not_passed_on() {
    let mut test = Test::start();
    let watch = test.open(0..2).await;
    assert_eq!(test.update(&watch, 0, failed(FailureClass::Denied)).await, None);
    assert_eq!(test.update(&watch, 0, Pushed::Unchanged(id(0))).await, None, "the key has left");
    assert_eq!(test.update(&watch, 1, failed(FailureClass::Unavailable)).await, Some(key(1)), "a failure is passed on");
    assert_eq!(test.update(&watch, 1, Pushed::Unchanged(id(1))).await, Some(key(1)));
    test.answer(Outcome::Dropped);
    assert_eq!(test.update(&watch, 1, failed(FailureClass::Denied)).await, Some(key(1)));
    assert!(watch.items.is_closed(), "a watch without keys is closed");
}

#[tokio::test(start_paused = true)]
async fn watch_that_is_taken_over_is_closed_after_the_snapshot() {
    let mut test = Test::start();
    let (first, second) = (test.open(0..2).await, test.open(2..3).await);
    test.watches.watch(&key(3), id(3));
    let third = test.opened.recv().await.unwrap();
    assert_eq!(third.keys.len(), 4);
    assert_eq!(test.update(&first, 0, Pushed::Unchanged(id(0))).await, Some(key(0)), "no gap");
    third.items.send(WatchItem::SnapshotComplete).unwrap();
    sleep(Duration::from_millis(1)).await;
    assert!(first.items.is_closed() && second.items.is_closed() && !third.items.is_closed());
}

#[tokio::test(start_paused = true)]
async fn refused_watch_opens_again_after_the_backoff() {
    let mut test = Test::start();
    let (watch, at) = (test.open(0..2).await, Instant::now());
    let retry_after = Some(Duration::from_mins(3));
    watch.items.send(WatchItem::Ended(End::Refused { retry_after })).unwrap();
    let again = test.open(0..0).await.at - at;
    assert!((Duration::from_mins(3)..=Duration::from_secs(271)).contains(&again), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn dropped_driver_closes_its_watches() {
    let mut test = Test::start();
    let watch = test.open(0..2).await;
    test.running.abort();
    sleep(Duration::from_millis(1)).await;
    assert!(watch.items.is_closed());
}

#[tokio::test(start_paused = true)]
async fn p8_source_never_waits_for_the_driver() {
    let metrics = Metrics::new(&mut Registry::default());
    let (opens, _opened) = mpsc::unbounded_channel();
    let (_driver, watches) = WatchDriver::new("central", Arc::new(ScriptedOpener(opens)), 10_000, &metrics);
    for number in 0..2 * MAX_WAITING {
        watches.watch(&key(number), id(number));
    }
    assert_eq!(watches.0.capacity(), 0);
}
