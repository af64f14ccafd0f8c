//! Callers that share a region: queues, lanes and joined fetches.

use super::*;

/// A caller requests thousands of accounts while another requests one.
#[tokio::test(start_paused = true)]
async fn p7_caller_with_thousands_of_registries_delays_no_other_caller() {
    for (behaviour, longest) in
        [(Behaviour::Hangs("nowhere"), 3 * LATENCY), (Behaviour::Bucket(20.0), Duration::from_secs(5))]
    {
        let aws = Aws::new(behaviour);
        let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &admission_settings()));
        let greedy = (0..5_000).map(|number| {
            let (source, key) = (Arc::clone(&source), key(&host(number)));
            tokio::spawn(async move { fetch_for(&source, &key, 1).await.map(drop) })
        });
        let greedy: Vec<_> = greedy.collect();
        let mut slowest = Duration::ZERO;
        for number in 5_000..5_020 {
            tokio::task::yield_now().await;
            let began = Instant::now();
            let mut answer = fetch_for(&source, &key(&host(number)), 2).await;
            while answer.is_err() {
                // The bucket was empty. The cache's backoff is as long.
                sleep(Duration::from_millis(500)).await;
                answer = fetch_for(&source, &key(&host(number)), 2).await;
            }
            slowest = slowest.max(began.elapsed());
        }
        println!("{behaviour:?}: beside 5,000 keys of another caller, the slowest of 20 took {slowest:?}");
        assert!(slowest <= longest, "{behaviour:?}: {slowest:?}");
        greedy.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// A flooding caller, whose lane is full, leads a flight that another caller joins. The call starts in the other's lane.
#[tokio::test(start_paused = true)]
async fn p7_caller_coalesced_into_a_full_queue_makes_its_own_call() {
    let aws = Aws::new(Behaviour::Hangs("nowhere"));
    let settings =
        admission::Settings { max_in_flight_per_region: 8, max_queued_per_requester: 100, ..admission_settings() };
    let cache = cache_with(&aws, &settings);
    let of = |uid, number| Lookup { caller: Caller::process(uid, uid), ..lookup(&host(number)) };
    for round in 0..20 {
        for number in 0..200 {
            let (cache, own) = (cache.clone(), of(1, 1_000 * round + number));
            tokio::spawn(async move { cache.get(own).await.map(drop) });
        }
        // Each of the flood's lookups starts a task, which enters the queue.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let refused = cache.get(of(1, 1_000 * round + 500)).await.unwrap_err();
        assert!(matches!(refused, BrokerError::QueueFull { .. }), "{refused:?}");
        let joined = 1_000 * round + 501;
        let (greedy, honest) = tokio::join!(cache.get(of(1, joined)), cache.get(of(2, joined)));
        assert_eq!((greedy.unwrap().status, honest.unwrap().status), (CacheStatus::Miss, CacheStatus::Coalesced));
    }
}

/// A fetch queues in the long lane of its first caller. For the next caller it queues in that one's short lane, too.
#[tokio::test(start_paused = true)]
async fn p7_caller_joining_a_queued_fetch_gets_it_into_its_own_lane() {
    let aws = Aws::new(Behaviour::Hangs("nowhere"));
    let cache = cache_with(&aws, &admission::Settings { max_in_flight_per_region: 8, ..admission_settings() });
    let greedy = tokio::spawn({
        let cache = cache.clone();
        async move { burst(&cache, 0..1_000, Duration::from_secs(29)).await }
    });
    sleep(Duration::from_millis(1)).await;
    for number in (960..1_000).rev() {
        let began = Instant::now();
        let found = cache.get(hasty_lookup(number, 2, Duration::from_secs(1))).await.unwrap();
        assert_eq!(found.status, CacheStatus::Coalesced);
        assert!(began.elapsed() < 3 * LATENCY, "{number}: {:?}", began.elapsed());
    }
    assert!(greedy.await.unwrap().iter().all(|(answer, _)| answer.is_ok()));
    assert_eq!((aws.calls(), aws.most_of_one_key.load(Ordering::SeqCst)), (1_000, 1));
}

/// A call that would wait too long, or with too many others of its requester, fails at its arrival, not after the wait.
#[tokio::test(start_paused = true)]
async fn p8_call_that_cannot_start_in_time_fails_at_once() {
    let defaults = || admission::Settings { max_in_flight_per_region: 8, ..admission_settings() };
    for (settings, queued) in [
        (defaults(), 2_048..2_049),
        // 30 s of queue, at 8 calls in 100 ms until the first call has shown that it takes 50 ms.
        (admission::Settings { max_queued_per_requester: 10_000, ..defaults() }, 2_390..2_410),
    ] {
        let aws = Aws::new(Behaviour::Hangs("nowhere"));
        let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &settings));
        let calls = (0..5_000).map(|number| {
            let (source, key) = (Arc::clone(&source), key(&host(number)));
            tokio::spawn(async move {
                let began = Instant::now();
                fetch(&source, &key).await.map_err(|failure| (began.elapsed(), failure)).map(drop)
            })
        });
        let mut served = 0;
        for call in join_all(calls).await {
            match call.unwrap() {
                Ok(()) => served += 1,
                Err((after, failure)) => {
                    assert!(BrokerError::from(failure).retry_after().is_some());
                    assert_eq!(after, Duration::ZERO);
                }
            }
        }
        println!("of 5,000 simultaneous calls {served} were served, and the others failed at once");
        assert!(queued.contains(&(served - 8)), "{served}: 8 in flight, and {queued:?} in the queue");
    }
}

#[tokio::test(start_paused = true)]
async fn burst_after_an_outage_is_served_without_an_error() {
    let aws = Aws::new(Behaviour::Hangs("eu-central-1"));
    let cache = cache(&aws);
    let refused = burst(&cache, 0..32, Duration::from_secs(29)).await;
    assert!(refused.iter().all(|(answer, _)| answer.is_err()));
    sleep(Duration::from_secs(10)).await;
    *aws.behaviour.lock().unwrap() = Behaviour::Hangs("nowhere");
    let answers = burst(&cache, 1_000..1_100, Duration::from_secs(10)).await;
    assert!(answers.iter().all(|(answer, _)| answer.is_ok()), "{answers:?}");
}

/// The caller that cannot wait is refused at once, and its fetch keeps its place: its retry finds the credential.
#[tokio::test(start_paused = true)]
async fn p2_caller_that_cannot_wait_is_refused_at_once_and_its_fetch_goes_on() {
    let second = Duration::from_secs(1);
    let aws = Aws::healthy(second);
    let cache = cache_with(&aws, &admission::Settings { max_in_flight_per_region: 1, ..admission_settings() });
    cache.get(lookup(&host(0))).await.unwrap();
    let began = Instant::now();
    let answers = burst(&cache, 1..11, second * 9 / 2).await;
    for (number, (answer, after)) in (0..).zip(&answers) {
        match answer {
            Ok(status) => {
                assert_eq!((*status, *after, number < 5), (CacheStatus::Miss, second * (1 + number), true));
            }
            Err(BrokerError::QueueFull { retry_after }) => {
                assert_eq!((*after, number >= 5), (Duration::ZERO, true), "{number}");
                assert!(*retry_after >= second * number, "its turn comes then: {retry_after:?}");
            }
            Err(error) => panic!("{number}: {error:?}"),
        }
    }
    // Another caller of a queued key waits for as long as it can, too.
    let refused = cache.get(hasty_lookup(10, 1, second)).await.unwrap_err();
    assert!(matches!(refused, BrokerError::QueueFull { .. }), "{refused:?}");
    tokio::time::sleep_until(began + second * 11).await;
    for number in 1..11 {
        assert_eq!(cache.get(lookup(&host(number))).await.unwrap().status, CacheStatus::Hit, "{number}");
    }
    assert_eq!((aws.calls(), aws.most_of_one_key.load(Ordering::SeqCst)), (11, 1));
}

#[tokio::test(start_paused = true)]
async fn fetch_keeps_its_place_in_the_queue_for_30_s() {
    let aws = Aws::new(Behaviour::Hangs("eu-central-1"));
    let cache = cache(&aws);
    let began = Instant::now();
    let callers = (0..50).map(|number| {
        let cache = cache.clone();
        tokio::spawn(async move { (cache.get(lookup(&host(number))).await.unwrap_err(), began.elapsed()) })
    });
    let mut refused = 0;
    for caller in join_all(callers).await {
        match caller.unwrap() {
            (BrokerError::Upstream(failure), _) => assert_eq!(failure.class, FailureClass::Unavailable),
            (BrokerError::QueueFull { .. }, after) => {
                assert_eq!(after, Duration::from_secs(30));
                refused += 1;
            }
            error => panic!("{error:?}"),
        }
    }
    // Eight calls at a time, which time out after 8 s.
    assert_eq!((refused, aws.calls.lock().unwrap().len()), (50 - 32, 32));
}

#[tokio::test(start_paused = true)]
async fn p2_caller_gets_the_cause_of_its_wait_before_its_deadline() {
    let patience = Duration::from_secs(2);
    let leave = async |behaviour, number| {
        let aws = Aws::new(behaviour);
        let (cache, began) = (cache(&aws), Instant::now());
        let hanging: Vec<_> = (0..number).map(|number| cache.warm(key(&host(number)))).collect();
        join_all(hanging).await;
        tokio::task::yield_now().await;
        let answer = timeout(2 * patience, cache.get(hasty_lookup(number, 1, patience))).await;
        (answer.ok().map(Result::unwrap_err), began.elapsed())
    };
    let (queued, after) = leave(Behaviour::Hangs("eu-central-1"), 8).await;
    assert!(matches!(queued, Some(BrokerError::QueueFull { .. })), "{queued:?}");
    assert_eq!(after, patience, "the eight calls in flight do not show that they hang");
    let (retried, after) = leave(Behaviour::FailsThenHangs, 0).await;
    assert_eq!((retried.map(|error| error.reason()), after), (Some("AWS_UNAVAILABLE"), patience));
    let (unknown, after) = leave(Behaviour::Hangs("eu-central-1"), 0).await;
    assert_eq!((unknown, after), (None, 2 * patience), "no cause is known: the caller's deadline ends the wait");
}
