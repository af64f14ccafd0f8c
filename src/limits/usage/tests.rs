use super::super::maximum::{MAX_IN_FLIGHT, MAX_WATCHES};
use super::super::test_clock::Still;
use super::*;
use crate::limits::CallerLimits;
use crate::policy::CallerPattern;

const WATCH_MEMORY: usize = 128 * 1024 * 1024;

fn limits(in_flight: usize) -> (UsageLimits, Arc<Still>) {
    let clock = Arc::new(Still::default());
    let hits = LimitHits::new(&mut Registry::default());
    (UsageLimits::new(settings(in_flight), clock.clone(), hits), clock)
}

fn settings(in_flight: usize) -> Settings {
    Settings {
        requests_per_second: count(10),
        local_requests_per_second: count(1_000_000),
        in_flight,
        watch_memory: WATCH_MEMORY,
        watch_memory_per_caller: WATCH_MEMORY / 2,
        failures_per_second: count(1),
        unproved_connections: 1,
        callers: Vec::new(),
    }
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn remote(name: &str) -> Principal {
    Principal::Dns(name.parse().unwrap())
}

fn caller_limit(result: Result<Admission, LimitExceeded>) -> Duration {
    match result {
        Err(LimitExceeded::PerCaller(_, RetryAfter(wait))) => wait,
        other => panic!("the caller's own limit: {other:?}"),
    }
}

fn watch_limit(result: &Result<[Admission; 2], LimitExceeded>) {
    assert!(matches!(result, Err(LimitExceeded::PerCaller(..))), "{result:?}");
}

fn is_global<T>(result: &Result<T, LimitExceeded>) -> bool {
    matches!(result, Err(LimitExceeded::Global(..)))
}

#[test]
fn remote_caller_has_a_rate_and_a_retry_delay() {
    let (limits, clock) = limits(1_000);
    let (greedy, honest) = (remote("a.example"), remote("b.example"));
    limits.admit(&greedy, count(100)).unwrap();
    let wait = caller_limit(limits.admit(&greedy, count(5)));
    assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&wait), "{wait:?}");
    limits.admit(&honest, count(100)).unwrap();
    clock.advance(wait);
    limits.admit(&greedy, count(5)).unwrap();
    limits.admit(&greedy, count(100)).unwrap_err();
    limits.admit(&greedy, count(101)).unwrap_err();
}

#[test]
fn local_caller_has_a_rate_apart_from_that_of_remote_ones() {
    let rates = (count(1), count(10));
    let rates = Settings { requests_per_second: rates.0, local_requests_per_second: rates.1, ..settings(1_000) };
    let limits = UsageLimits::new(rates, Arc::new(Still::default()), LimitHits::new(&mut Registry::default()));
    for local in [Principal::Uid(1001), Principal::Loopback, Principal::AwsApi] {
        limits.admit(&local, count(100)).unwrap();
        caller_limit(limits.admit(&local, count(1)));
    }
    limits.admit(&Principal::Uid(1002), count(1)).unwrap();
    limits.admit(&remote("a.example"), count(10)).unwrap();
    caller_limit(limits.admit(&remote("a.example"), count(1)));
}

#[test]
fn local_caller_has_a_limit_in_flight() {
    let (limits, _) = limits(200);
    let user = Principal::Uid(1001);
    for _ in 0..100 {
        limits.admit(&user, count(100)).unwrap();
    }
    let full = limits.admit(&user, count(200)).unwrap();
    assert!(caller_limit(limits.admit(&user, count(1))) >= DEFAULT_DELAY);
    limits.admit(&Principal::Uid(1002), count(200)).unwrap();
    drop(full);
    limits.admit(&user, count(200)).unwrap();
}

#[test]
fn added_requests_count_with_their_admission_all_or_none() {
    let (limits, _) = limits(200);
    let user = Principal::Uid(1001);
    let call = limits.admit(&user, count(1)).unwrap();
    limits.admit_more(&user, &call, count(199)).unwrap();
    limits.admit_more(&user, &call, count(1)).unwrap_err();
    caller_limit(limits.admit(&user, count(1)));
    drop(call);
    drop(limits.admit(&user, count(200)).unwrap());
    let (remote, call) = (remote("a.example"), limits.admit(&remote("a.example"), count(1)).unwrap());
    limits.admit_more(&remote, &call, count(100)).unwrap_err();
    limits.admit_more(&remote, &call, count(99)).unwrap();
}

/// A client with three attempts failed one time in twenty: each attempt took the place of one request, for which the delay had no time.
#[test]
fn retry_delay_of_added_requests_covers_the_whole_call() {
    let (limits, clock) = limits(200);
    let caller = remote("a.example");
    drop(limits.admit(&caller, count(90)).unwrap());
    let call = limits.admit(&caller, count(1)).unwrap();
    let refused = || match limits.admit_more(&caller, &call, count(19)) {
        Err(LimitExceeded::PerCaller(_, RetryAfter(wait))) => wait,
        other => panic!("the caller's own limit: {other:?}"),
    };
    // Delays are random above a minimum.
    let shortest = (0..200).map(|_| refused()).min().unwrap();
    assert!((Duration::from_millis(1_100)..Duration::from_millis(1_500)).contains(&shortest), "{shortest:?}");
    drop(call);
    clock.advance(Duration::from_millis(1_100));
    let again = limits.admit(&caller, count(1)).unwrap();
    limits.admit_more(&caller, &again, count(19)).unwrap();
}

#[test]
fn global_in_flight_limit_spares_callers_with_few_requests() {
    let most = MAX_IN_FLIGHT / 2;
    let (limits, _) = limits(most);
    let most = count(u32::try_from(most).unwrap());
    let full = [1, 2].map(|uid| limits.admit(&Principal::Uid(uid), most).unwrap());
    let few = limits.admit(&Principal::Uid(3), count(200)).unwrap();
    assert!(is_global(&limits.admit(&Principal::Uid(3), count(1))));
    drop(few);
    limits.admit(&Principal::Uid(4), count(1)).unwrap();
    drop(full);
    limits.admit(&Principal::Uid(3), most).unwrap();
}

/// An issuer can make up subjects.
#[test]
fn any_number_of_callers_with_low_usage_stays_below_a_limit() {
    let (limits, _) = limits(200);
    let few = count(u32::try_from(LOW_USAGE_BYTES).unwrap());
    let watch = |uid| limits.admit_watch(&Principal::Uid(uid), count(1), few);
    let watches: Vec<_> = (0..1_000).map_while(|uid| watch(uid).ok()).collect();
    assert_eq!(watches.len(), (WATCH_MEMORY + WATCH_MEMORY / RESERVE_SHARE) / LOW_USAGE_BYTES);
    assert!(is_global(&watch(1_000)));
    drop(watches);
    watch(1_000).unwrap();
}

#[test]
fn watched_registries_have_separate_limits() {
    let (limits, _) = limits(200);
    let (half, own) = (count(u32::try_from(MAX_WATCHES / 2).unwrap()), Principal::Uid(1));
    let first = limits.admit_watch(&own, half, count(1)).unwrap();
    watch_limit(&limits.admit_watch(&own, count(1), count(1)));
    limits.admit(&own, count(200)).unwrap();
    let second = limits.admit_watch(&Principal::Uid(2), half, count(1)).unwrap();
    assert!(is_global(&limits.admit_watch(&Principal::Uid(3), count(201), count(1))));
    limits.admit_watch(&Principal::Uid(3), count(200), count(1)).unwrap();
    drop((first, second));
    limits.admit_watch(&own, half, count(1)).unwrap();
}

#[test]
fn memory_of_watches_has_a_limit_beside_their_number() {
    let (limits, _) = limits(200);
    let (half, own) = (count(u32::try_from(WATCH_MEMORY / 2).unwrap()), Principal::Uid(1));
    let few = count(u32::try_from(LOW_USAGE_BYTES).unwrap());
    let first = limits.admit_watch(&own, count(1), half).unwrap();
    watch_limit(&limits.admit_watch(&own, count(1), count(1)));
    let second = limits.admit_watch(&Principal::Uid(2), count(1), half).unwrap();
    limits.admit_watch(&Principal::Uid(3), count(1), few).unwrap();
    assert!(is_global(&limits.admit_watch(&Principal::Uid(3), count(1), few.saturating_add(1))));
    drop((first, second));
    limits.admit_watch(&own, count(1), half).unwrap();
    let usage = limits.caller(&own);
    assert_eq!((usage.usage.counts().1, usage.usage.watch_bytes.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn remembered_callers_are_bounded() {
    let (limits, _) = limits(1);
    for number in 0..u32::try_from(recent::MAX_BYTES / recent::ENTRY_BYTES as u64).unwrap() + 5_000 {
        _ = limits.admit(&Principal::Uid(number), count(1));
    }
    limits.callers.run_pending_tasks();
    assert!(limits.callers.weighted_size() <= recent::MAX_BYTES);
}

/// An issuer can make up subjects of 512 bytes, and a trust domain paths of 2 KB.
#[test]
fn p8_remembered_callers_with_long_names_are_bounded_in_bytes() {
    let (limits, _) = limits(1);
    for number in 0..40_000 {
        let subject = format!("{number:0512}").into();
        _ = limits.admit(&Principal::Token { issuer: "ci".into(), subject }, count(1));
    }
    limits.callers.run_pending_tasks();
    assert!(limits.callers.weighted_size() <= recent::MAX_BYTES);
    assert!((20_000..25_000).contains(&limits.callers.entry_count()), "{}", limits.callers.entry_count());
}

fn named(callers: &[Principal], limits: &CallerLimits) -> CallerLimits {
    let callers = callers.iter().map(|one| CallerPattern::only(one, None).unwrap()).collect();
    CallerLimits { callers, ..limits.clone() }
}

const UNCHANGED: CallerLimits = CallerLimits {
    callers: Vec::new(),
    requests_per_second: None,
    in_flight: None,
    watches: None,
    watch_memory_per_caller: None,
};

fn limits_with(callers: Vec<CallerLimits>) -> UsageLimits {
    let settings = Settings { callers, ..settings(200) };
    UsageLimits::new(settings, Arc::new(Still::default()), LimitHits::new(&mut Registry::default()))
}

#[test]
fn named_caller_has_its_limits_and_the_general_ones_where_none_is_set() {
    let (child, other) = (remote("child.example"), remote("other.example"));
    let raised = CallerLimits { requests_per_second: Some(count(100)), in_flight: Some(500), ..UNCHANGED };
    let limits = limits_with(vec![named(std::slice::from_ref(&child), &raised)]);
    let held = limits.admit(&child, count(500)).unwrap();
    caller_limit(limits.admit(&child, count(1)));
    drop(held);
    limits.admit(&child, count(500)).unwrap();
    caller_limit(limits.admit(&child, count(1)));
    limits.admit(&other, count(100)).unwrap();
    caller_limit(limits.admit(&other, count(1)));
    let half = count(u32::try_from(MAX_WATCHES / 2).unwrap());
    let _watches = limits.admit_watch(&child, half, count(1)).unwrap();
    watch_limit(&limits.admit_watch(&child, count(1), count(1)));
}

#[test]
fn named_caller_may_watch_more_in_number_and_in_memory() {
    let child = Principal::Uid(1);
    let raised = CallerLimits { watches: Some(MAX_WATCHES), watch_memory_per_caller: Some(WATCH_MEMORY), ..UNCHANGED };
    let limits = limits_with(vec![named(std::slice::from_ref(&child), &raised)]);
    let [all, bytes] = [MAX_WATCHES, WATCH_MEMORY].map(|amount| count(u32::try_from(amount).unwrap()));
    let held = limits.admit_watch(&child, all, bytes).unwrap();
    watch_limit(&limits.admit_watch(&child, count(1), count(1)));
    drop(held);
    watch_limit(&limits.admit_watch(&Principal::Uid(2), count(1), bytes));
    watch_limit(&limits.admit_watch(&Principal::Uid(2), all, count(1)));
}

#[test]
fn first_entry_that_names_a_caller_decides() {
    let (one, two) = (Principal::Uid(1), Principal::Uid(2));
    let in_flight = |limit| CallerLimits { in_flight: Some(limit), ..UNCHANGED };
    let limits =
        limits_with(vec![named(std::slice::from_ref(&one), &in_flight(300)), named(&[one, two], &in_flight(400))]);
    for (uid, limit) in [(1, 300), (2, 400), (3, 200)] {
        let _held = limits.admit(&Principal::Uid(uid), count(limit)).unwrap();
        caller_limit(limits.admit(&Principal::Uid(uid), count(1)));
    }
}

/// Stolen, a named caller takes all that the callers share, and no more.
#[test]
fn named_caller_cannot_take_the_reserve_of_others() {
    let child = Principal::Uid(1);
    let raised = CallerLimits {
        in_flight: Some(MAX_IN_FLIGHT),
        watches: Some(MAX_WATCHES),
        watch_memory_per_caller: Some(WATCH_MEMORY),
        ..UNCHANGED
    };
    let limits = limits_with(vec![named(std::slice::from_ref(&child), &raised)]);
    let [requests, all, bytes] =
        [MAX_IN_FLIGHT, MAX_WATCHES, WATCH_MEMORY].map(|amount| count(u32::try_from(amount).unwrap()));
    let _held = (limits.admit(&child, requests).unwrap(), limits.admit_watch(&child, all, bytes).unwrap());
    assert_eq!(limits.status().requests, Used { used: MAX_IN_FLIGHT, max: MAX_IN_FLIGHT });
    for uid in 2..10 {
        limits.admit(&Principal::Uid(uid), count(200)).unwrap();
        limits.admit_watch(&Principal::Uid(uid), count(200), count(1_000_000)).unwrap();
    }
}

#[test]
fn request_of_a_recent_usage_counts_with_the_others_of_its_caller() {
    let (limits, clock) = limits(200);
    let (local, usage) = (Principal::Uid(1001), RecentUsage::default());
    let first = limits.admit_again(&local, &usage).unwrap();
    let most = limits.admit(&local, count(198)).unwrap();
    let last = limits.admit_again(&local, &usage).unwrap();
    assert_eq!(limits.status().requests.used, 200);
    caller_limit(limits.admit_again(&local, &usage));
    caller_limit(limits.admit(&local, count(1)));
    drop((first, most, last));
    drop(limits.admit(&local, count(200)).unwrap());

    let (remote, usage) = (remote("a.example"), RecentUsage::default());
    drop(limits.admit_again(&remote, &usage).unwrap());
    limits.admit(&remote, count(98)).unwrap();
    drop(limits.admit_again(&remote, &usage).unwrap());
    let wait = caller_limit(limits.admit_again(&remote, &usage));
    caller_limit(limits.admit(&remote, count(1)));
    clock.advance(wait);
    limits.admit_again(&remote, &usage).unwrap();
}

#[test]
fn recent_usage_is_looked_up_again_after_its_interval() {
    let (limits, clock) = limits(200);
    let (caller, usage) = (Principal::Uid(1001), RecentUsage::default());
    let _in_flight = limits.admit_again(&caller, &usage).unwrap();
    limits.callers.invalidate(&caller);
    for is_looked_up in [false, true] {
        clock.advance(recent_usage::LOOKUP_INTERVAL / 2);
        limits.admit_again(&caller, &usage).unwrap();
        assert_eq!(limits.callers.contains_key(&caller), is_looked_up);
    }
}
