//! Limits: how much one caller may ask for, and how often one origin may fail to prove who it is, so that nobody takes what
//! others wait for.
//!
//! What is kept of each is a few numbers, and it is kept of a bounded many: whoever has been quiet for longest is forgotten first.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tracing::warn;

use self::rate::Rate;
use crate::caller::Principal;
use crate::clock::Clock;
use crate::error::BrokerError;
use crate::jitter;

mod rate;

/// How many callers, and how many origins, are remembered.
const REMEMBERED: u64 = 65_536;
/// Longer than any limit takes to recover.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// After a quiet time, as much at once as in so many seconds.
const BURST: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Those who keep failing are not listened to for so long at most.
const LONGEST_PENANCE: Duration = Duration::from_secs(10);
/// How often it is said of one caller or origin that it is over its limit.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);
/// Requests that may be under way together, whoever makes them, where one caller may have less than half of that; of the answers of so many,
/// which their callers may be slow to take, the broker keeps about 300 MB.
const MOST_UNDER_WAY: usize = 32_768;
/// Registries that may be watched together, whoever does; for each the broker keeps about 2 KB. One caller may watch half as many.
const MOST_WATCHED: usize = 65_536;
/// So few of its own are never too much: callers who have many must not turn away those who have few.
const ALWAYS_LET_IN: usize = 200;
/// How long to wait where nothing says when there will be room.
const WAIT: Duration = Duration::from_secs(1);

/// How much is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What a caller of another host may ask for in a second, in the mean.
    pub requests_per_second: NonZeroU32,
    /// How many requests of one caller may be under way, wherever it is.
    pub in_flight: usize,
    /// How often an origin may fail to prove who it is, in a second, in the mean.
    pub failures_per_second: NonZeroU32,
}

/// The limits, and how far everybody is from theirs. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct Limits {
    settings: Settings,
    clock: Arc<dyn Clock>,
    all: Arc<Held>,
    all_reported: Arc<Reported>,
    callers: Cache<Principal, Arc<Account>>,
    origins: Cache<Origin, Arc<Failures>>,
}

/// Where somebody calls from, before it is known who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An IPv4 address, or an IPv6 network of 64 bits: one host has as many addresses in it as it likes.
    Network(IpAddr),
    /// A user of this host.
    Uid(u32),
    /// This host, by the AWS API.
    AwsApi,
}

/// Why a caller is not let in now; it may come again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitExceeded {
    /// It asks for too much.
    PerCaller(Duration),
    /// All together ask for too much.
    Global(Duration),
}

/// It is too much; the caller may come again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

/// The right to have requests under way, or to watch registries; given back when it goes.
#[derive(Debug)]
pub struct Admission {
    account: Arc<Account>,
    all: Arc<Held>,
    of: What,
    count: usize,
}

/// Of what there is so much at a time, and no more.
#[derive(Debug, Clone, Copy)]
enum What {
    UnderWay,
    Watched,
}

/// How much there is of each.
#[derive(Debug, Default)]
struct Held {
    under_way: AtomicUsize,
    watched: AtomicUsize,
}

/// What is known of one caller.
#[derive(Debug)]
struct Account {
    /// None: it may ask as often as it likes.
    rate: Option<Rate>,
    held: Held,
    reported: Reported,
}

/// What is known of one origin.
#[derive(Debug)]
struct Failures {
    rate: Rate,
    reported: Reported,
}

/// When it was last said that somebody is over a limit, in milliseconds of the steady clock, and one more.
#[derive(Debug, Default)]
struct Reported(AtomicU64);

impl Origin {
    /// The network that a host's address stands for.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
            address @ IpAddr::V4(_) => address,
        })
    }

    /// What comes of too many failures.
    fn penance(self) -> &'static str {
        match self {
            Self::Network(_) | Self::Uid(_) => "nobody there is listened to",
            Self::AwsApi => "nobody is told why, and whoever has the secret is served",
        }
    }
}

impl From<LimitExceeded> for BrokerError {
    fn from(excess: LimitExceeded) -> Self {
        match excess {
            LimitExceeded::PerCaller(retry_after) => {
                Self::CallerRateLimited { what: "you ask for more than the broker lets one caller have", retry_after }
            }
            LimitExceeded::Global(retry_after) => Self::Overloaded { resource: "requests under way", retry_after },
        }
    }
}

impl Limits {
    /// Nobody has asked for anything yet.
    #[must_use]
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            clock,
            all: Arc::default(),
            all_reported: Arc::default(),
            callers: remembered(),
            origins: remembered(),
        }
    }

    /// Lets a caller have this many requests more under way, all or none.
    ///
    /// # Errors
    /// Where it asks too often, or has too many under way, or all together have.
    pub fn admit(&self, principal: &Principal, requests: NonZeroU32) -> Result<Admission, LimitExceeded> {
        let of_all = MOST_UNDER_WAY.max(self.settings.in_flight.saturating_mul(2));
        let admission = self.enter(principal, What::UnderWay, requests, (self.settings.in_flight, of_all))?;
        let spent = admission.account.spend(requests, self.now());
        spent.map(|()| admission).inspect_err(|_| self.report(principal, What::UnderWay))
    }

    /// Lets a caller watch this many registries more, all or none.
    ///
    /// # Errors
    /// Where it watches too many, or all together do.
    pub fn admit_watch(&self, principal: &Principal, registries: NonZeroU32) -> Result<Admission, LimitExceeded> {
        self.enter(principal, What::Watched, registries, (MOST_WATCHED / 2, MOST_WATCHED))
    }

    /// Keeps a caller in mind who has been let in and asks for nothing more, as those do who watch.
    pub fn keep_in_mind(&self, principal: &Principal, admission: &Admission) {
        _ = self.callers.get_with_by_ref(principal, || Arc::clone(&admission.account));
    }

    /// Whether those are listened to who have yet to prove who they are.
    ///
    /// # Errors
    /// Where too many from there failed to.
    pub fn listen(&self, origin: Origin) -> Result<(), RetryAfter> {
        let Some(failures) = self.origins.get(&origin) else { return Ok(()) };
        let wait = failures.rate.wait(self.now());
        if wait.is_zero() {
            return Ok(());
        }
        if failures.reported.is_due(self.now()) {
            warn!(?origin, "too many from there failed to prove who they are; for a while {}", origin.penance());
        }
        Err(RetryAfter(spread(wait.max(WAIT))))
    }

    /// Notes that somebody failed to prove who they are. Of those who try at the same time each one counts.
    pub fn note_failure(&self, origin: Origin) {
        let rate = || Rate::new(self.settings.failures_per_second, BURST);
        let anew = || Arc::new(Failures { rate: rate(), reported: Reported::default() });
        self.origins.get_with(origin, anew).rate.owe(self.now(), LONGEST_PENANCE);
    }

    /// Callers of this host are as many as it has room for, and one of them is often a whole build farm.
    fn account(&self, principal: &Principal) -> Arc<Account> {
        if let Some(account) = self.callers.get(principal) {
            return account;
        }
        let rate = (!principal.is_local()).then(|| Rate::new(self.settings.requests_per_second, BURST));
        let anew = || Arc::new(Account { rate, held: Held::default(), reported: Reported::default() });
        self.callers.get_with_by_ref(principal, anew)
    }

    fn enter(
        &self,
        principal: &Principal,
        of: What,
        count: NonZeroU32,
        (of_one, of_all): (usize, usize),
    ) -> Result<Admission, LimitExceeded> {
        let admission = Admission::enter(self.account(principal), Arc::clone(&self.all), of, count);
        let within = admission.within(of_one, of_all);
        within.map(|()| admission).inspect_err(|excess| match excess {
            LimitExceeded::PerCaller(_) => self.report(principal, of),
            LimitExceeded::Global(_) if self.all_reported.is_due(self.now()) => {
                let so_much = of.of_all();
                warn!(of_all, "{so_much} than the broker keeps; callers who have many are turned away for a while");
            }
            LimitExceeded::Global(_) => {}
        })
    }

    fn now(&self) -> Duration {
        self.clock.now().steady
    }

    fn report(&self, principal: &Principal, of: What) {
        let account = self.account(principal);
        if account.reported.is_due(self.now()) {
            let [in_flight, watched] =
                [What::UnderWay, What::Watched].map(|of| account.held.of(of).load(Ordering::Relaxed));
            let so_much = of.of_one();
            warn!(caller = %principal, in_flight, watched, "a caller {so_much}, and is turned away for a while");
        }
    }
}

impl Reported {
    /// Whether it is to be said now; once in a while it is.
    fn is_due(&self, now: Duration) -> bool {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let last = self.0.load(Ordering::Relaxed);
        let due = last == 0 || Duration::from_millis(now.saturating_sub(last)) >= REPORT_INTERVAL;
        due && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Account {
    fn spend(&self, requests: NonZeroU32, now: Duration) -> Result<(), LimitExceeded> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.spend(requests, now).map_err(|wait| LimitExceeded::PerCaller(spread(wait)))
    }
}

impl What {
    fn of_one(self) -> &'static str {
        match self {
            Self::UnderWay => "asks for more than [limits] lets one have",
            Self::Watched => "watches more registries than one may",
        }
    }

    fn of_all(self) -> &'static str {
        match self {
            Self::UnderWay => "more requests are under way",
            Self::Watched => "more registries are watched",
        }
    }
}

impl Held {
    fn of(&self, what: What) -> &AtomicUsize {
        match what {
            What::UnderWay => &self.under_way,
            What::Watched => &self.watched,
        }
    }
}

impl Admission {
    /// Made before it is judged, so that it is given back either way.
    fn enter(account: Arc<Account>, all: Arc<Held>, of: What, count: NonZeroU32) -> Self {
        let count = usize::try_from(count.get()).unwrap_or(usize::MAX);
        account.held.of(of).fetch_add(count, Ordering::Relaxed);
        all.of(of).fetch_add(count, Ordering::Relaxed);
        Self { account, all, of, count }
    }

    fn within(&self, of_one: usize, of_all: usize) -> Result<(), LimitExceeded> {
        let own = self.account.held.of(self.of).load(Ordering::Relaxed);
        if own > of_one {
            Err(LimitExceeded::PerCaller(spread(WAIT)))
        } else if own > ALWAYS_LET_IN && self.all.of(self.of).load(Ordering::Relaxed) > of_all {
            Err(LimitExceeded::Global(spread(WAIT)))
        } else {
            Ok(())
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.account.held.of(self.of).fetch_sub(self.count, Ordering::Relaxed);
        self.all.of(self.of).fetch_sub(self.count, Ordering::Relaxed);
    }
}

fn remembered<K, V>() -> Cache<K, V>
where
    K: Debug + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder()
        .max_capacity(REMEMBERED)
        .time_to_idle(FORGOTTEN_AFTER)
        .eviction_policy(EvictionPolicy::lru())
        .build()
}

/// A time of its own for each of those who are turned away together, so that they do not come back together.
fn spread(wait: Duration) -> Duration {
    jitter::at_least(wait, 1.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::SystemTime;

    use super::*;
    use crate::moment::Moment;

    /// A clock that stands still until it is moved.
    #[derive(Debug, Default)]
    struct Still(Mutex<Duration>);

    impl Clock for Still {
        fn now(&self) -> Moment {
            Moment { wall: SystemTime::UNIX_EPOCH, steady: *self.0.lock().unwrap() }
        }
    }

    impl Still {
        fn advance(&self, time: Duration) {
            *self.0.lock().unwrap() += time;
        }
    }

    fn limits(in_flight: usize) -> (Limits, Arc<Still>) {
        let clock = Arc::new(Still::default());
        let ten = NonZeroU32::new(10).unwrap();
        let settings = Settings { requests_per_second: ten, in_flight, failures_per_second: ten };
        (Limits::new(settings, clock.clone()), clock)
    }

    fn count(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn remote(name: &str) -> Principal {
        Principal::Dns(name.parse().unwrap())
    }

    #[test]
    fn a_caller_of_another_host_has_its_rate_and_is_told_when_to_come_back() {
        let (limits, clock) = limits(1_000);
        let (greedy, honest) = (remote("a.example"), remote("b.example"));
        limits.admit(&greedy, count(100)).unwrap();
        let LimitExceeded::PerCaller(wait) = limits.admit(&greedy, count(5)).unwrap_err() else {
            panic!("its own limit")
        };
        assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&wait), "{wait:?}");
        limits.admit(&honest, count(100)).unwrap();
        clock.advance(wait);
        limits.admit(&greedy, count(5)).unwrap();
        limits.admit(&greedy, count(100)).unwrap_err();
        limits.admit(&greedy, count(101)).unwrap_err();
    }

    #[test]
    fn a_user_of_this_host_has_no_rate_but_it_has_a_limit_of_what_is_under_way() {
        let (limits, _) = limits(200);
        let user = Principal::Uid(1001);
        for _ in 0..100 {
            limits.admit(&user, count(100)).unwrap();
        }
        let held = limits.admit(&user, count(200)).unwrap();
        let LimitExceeded::PerCaller(wait) = limits.admit(&user, count(1)).unwrap_err() else {
            panic!("its own limit")
        };
        assert!(wait >= WAIT);
        limits.admit(&Principal::Uid(1002), count(200)).unwrap();
        drop(held);
        limits.admit(&user, count(200)).unwrap();
    }

    #[test]
    fn all_together_have_a_limit_of_what_is_under_way_and_who_has_few_is_let_in_all_the_same() {
        let most = MOST_UNDER_WAY / 2;
        let (limits, _) = limits(most);
        let most = count(u32::try_from(most).unwrap());
        let held = [1, 2].map(|uid| limits.admit(&Principal::Uid(uid), most).unwrap());
        let few = limits.admit(&Principal::Uid(3), count(200)).unwrap();
        assert!(matches!(limits.admit(&Principal::Uid(3), count(1)), Err(LimitExceeded::Global(_))));
        drop(few);
        limits.admit(&Principal::Uid(4), count(1)).unwrap();
        drop(held);
        limits.admit(&Principal::Uid(3), most).unwrap();
    }

    #[test]
    fn what_is_watched_has_limits_of_its_own() {
        let (limits, _) = limits(200);
        let (half, own) = (count(u32::try_from(MOST_WATCHED / 2).unwrap()), Principal::Uid(1));
        let held = limits.admit_watch(&own, half).unwrap();
        assert!(matches!(limits.admit_watch(&own, count(1)), Err(LimitExceeded::PerCaller(_))));
        limits.admit(&own, count(200)).unwrap();
        let other = limits.admit_watch(&Principal::Uid(2), half).unwrap();
        assert!(matches!(limits.admit_watch(&Principal::Uid(3), count(201)), Err(LimitExceeded::Global(_))));
        limits.admit_watch(&Principal::Uid(3), count(200)).unwrap();
        drop((held, other));
        limits.admit_watch(&own, half).unwrap();
    }

    #[test]
    fn an_origin_that_keeps_failing_is_not_listened_to_for_a_while_and_others_are() {
        let (limits, clock) = limits(1);
        let (a, b) = (Origin::of([192, 0, 2, 1].into()), Origin::of([192, 0, 2, 2].into()));
        for _ in 0..100 {
            limits.listen(a).unwrap();
            limits.note_failure(a);
        }
        let RetryAfter(wait) = limits.listen(a).unwrap_err();
        assert!((WAIT..=2 * WAIT).contains(&wait), "{wait:?}");
        limits.listen(b).unwrap();
        clock.advance(wait);
        limits.listen(a).unwrap();
        assert!(limits.origins.get(&b).is_none(), "nothing is kept of who did not fail");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (limits, _) = limits(1);
        for number in 0..u32::try_from(REMEMBERED).unwrap() + 5_000 {
            limits.note_failure(Origin::Uid(number));
            _ = limits.admit(&Principal::Uid(number), count(1));
        }
        limits.origins.run_pending_tasks();
        limits.callers.run_pending_tasks();
        assert!(limits.origins.entry_count() <= REMEMBERED && limits.callers.entry_count() <= REMEMBERED);
    }

    #[test]
    fn an_ipv6_host_is_counted_by_its_network_and_an_ipv4_host_by_its_address() {
        for (address, counted) in [
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(Origin::of(address.parse().unwrap()), Origin::Network(counted.parse().unwrap()), "{address}");
        }
    }
}
