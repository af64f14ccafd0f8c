//! Regions and roles that hang, and their shares of the calls in flight.

use super::*;

#[tokio::test(start_paused = true)]
async fn p7_hanging_region_has_eight_calls_in_flight_and_delays_no_other() {
    let aws = Aws::new(Behaviour::Hangs("eu-central-1"));
    let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &admission_settings()));
    let hanging: Vec<_> = (0..50)
        .map(|number| {
            let (source, key) = (Arc::clone(&source), key(&host(number)));
            tokio::spawn(async move { fetch(&source, &key).await.map(drop).unwrap_err() })
        })
        .collect();
    tokio::task::yield_now().await;
    for number in 0..20 {
        let began = Instant::now();
        let other = key(&host(number).replace("eu-central-1", "eu-west-1"));
        fetch(&source, &other).await.unwrap();
        fetch(&source, &key("public.ecr.aws")).await.unwrap();
        assert!(began.elapsed() < 3 * LATENCY, "{number}: {:?}", began.elapsed());
    }
    assert_eq!(aws.most_in_flight.load(Ordering::SeqCst), 9, "eight calls that hang, and one that does not");
    for outcome in hanging {
        match outcome.await.unwrap() {
            FetchError::Upstream(failure) => assert_eq!(failure.class, FailureClass::Unavailable),
            FetchError::QueueFull { .. } => {}
            error @ FetchError::OfRequest(_) => panic!("{error:?}"),
        }
    }
    // Calls that could not start in time were not made, and none is stuck.
    assert!(aws.calls.lock().unwrap().len() < 50 + 21);
    let again = timeout(Duration::from_secs(1), fetch(&source, &key("public.ecr.aws"))).await;
    assert!(again.unwrap().is_ok());
}

/// A role's calls keep three quarters of the limit, whatever it is.
#[tokio::test(start_paused = true)]
async fn p7_roles_use_three_quarters_of_the_calls_in_flight() {
    let aws = Aws::healthy(Duration::from_millis(100));
    let cache = cache(&aws);
    let fetches = (0..1_000).map(|number| {
        let key = CredentialKey { profile: "ci".into(), ..key(&host(number)) };
        cache.get(Lookup { key, ..lookup(&host(number)) })
    });
    assert!(join_all(fetches).await.iter().all(Result::is_ok));
    assert_eq!(aws.most_in_flight(), 48);
}

/// Hanging calls keep their slots for seconds. With 64 of them in a few regions, `aws.max_in_flight` would be used up.
#[tokio::test(start_paused = true)]
async fn p7_region_that_stops_answering_returns_to_eight_calls_in_flight() {
    let aws = Aws::healthy(LATENCY);
    let cache = cache(&aws);
    burst(&cache, 0..500, Duration::from_secs(29)).await;
    assert_eq!(aws.most_in_flight(), 64);
    *aws.behaviour.lock().unwrap() = Behaviour::Hangs("eu-central-1");
    let hanging = tokio::spawn(async move { burst(&cache, 500..600, Duration::from_secs(29)).await });
    sleep(LIMIT + Duration::from_secs(1)).await;
    assert_eq!(aws.most_in_flight(), 64, "until the first call timed out");
    let in_flight: usize = aws.in_flight.lock().unwrap().values().sum();
    assert_eq!(in_flight, 8);
    hanging.abort();
}

#[tokio::test(start_paused = true)]
async fn p7_all_regions_together_are_bounded_and_one_caller_has_half() {
    let aws = Aws::healthy(Duration::from_secs(1));
    let settings = admission::Settings { max_in_flight: 20, ..admission_settings() };
    let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &settings));
    let fetch_in = |uid: u32, region: &str, number: usize| {
        let (source, key) = (Arc::clone(&source), key(&host(number).replace("eu-central-1", region)));
        tokio::spawn(async move { fetch_for(&source, &key, uid).await.map(drop) })
    };
    let regions = ["eu-central-1", "eu-west-1", "us-east-1", "us-west-2"];
    let of = |uid: u32| regions.map(|region| (0..60).map(|number| fetch_in(uid, region, number)).collect::<Vec<_>>());
    let first: Vec<_> = of(1).into_iter().flatten().collect();
    sleep(Duration::from_millis(1_500)).await;
    // Eight of each region, and beyond them ten. The first call of a lane counts, too, while it waits for a slot.
    let most = aws.most_in_flight();
    assert!((32 + 6..=32 + 10).contains(&most), "{most}");
    // The keys of the second caller are those of the first, but a source does not coalesce.
    let second: Vec<_> = of(2).into_iter().flatten().collect();
    for fetch in join_all(first.into_iter().chain(second)).await {
        fetch.unwrap().unwrap();
    }
    let most = aws.most_in_flight();
    assert!((32 + 12..=32 + 20).contains(&most), "{most}");
    assert_eq!(aws.calls(), 480);
}

/// One caller asks for 20 registries of each of 24 regions, of which 23 hang: their first calls would be 184.
#[tokio::test(start_paused = true)]
async fn p7_caller_of_every_region_has_a_share_of_their_first_calls() {
    const HEALTHY: &str = "eu-west-1";
    const HANGING: [&str; 23] = [
        "af-south-1",
        "ap-east-1",
        "ap-east-2",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ca-central-1",
        "ca-west-1",
        "eu-central-1",
        "eu-north-1",
        "eu-south-1",
        "eu-west-2",
        "il-central-1",
        "me-south-1",
        "mx-central-1",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-west-2",
    ];
    let aws = Aws::new(Behaviour::HangsOutside(HEALTHY));
    let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &admission_settings()));
    let fetch = |uid: u32, region: &str, number: usize| {
        let (source, key) = (Arc::clone(&source), key(&host(number).replace("eu-central-1", region)));
        tokio::spawn(async move { fetch_for(&source, &key, uid).await.map(drop) })
    };
    let greedy: Vec<_> = HANGING.iter().flat_map(|region| (0..20).map(|number| fetch(1, region, number))).collect();
    sleep(Duration::from_secs(1)).await;
    let most = aws.most_in_flight();
    println!("one caller in 23 hanging regions: {most} calls in flight");
    // 128, and one of each region. The first call of a lane counts, too, while it waits for a slot.
    assert!((128..=128 + HANGING.len()).contains(&most), "{most}");
    // Neither the caller itself is delayed in another region, nor another caller in the hanging ones.
    let began = Instant::now();
    fetch(1, HEALTHY, 100).await.unwrap().unwrap();
    assert!(began.elapsed() < 4 * LATENCY, "{:?}", began.elapsed());
    let calls = aws.calls();
    let other: Vec<_> = HANGING.iter().map(|region| fetch(2, region, 200)).collect();
    sleep(Duration::from_millis(100)).await;
    let started = aws.calls() - calls;
    assert!(started >= 3, "regions in which the first caller has all slots: {started} of 23 started");
    greedy.iter().chain(&other).for_each(tokio::task::JoinHandle::abort);
}

/// Lets the limits of four regions grow, for the calls of two callers, then lets all regions but one hang, and fills the four.
async fn hang_four_grown_regions(source: &Arc<AdmissionControl<Arc<Aws>>>, aws: &Arc<Aws>, profile: &str) {
    let fetches = |numbers: std::ops::Range<usize>| {
        let regions = [(1, "eu-central-1"), (1, "us-east-1"), (2, "us-west-2"), (2, "sa-east-1")];
        let keys = regions.into_iter().flat_map(|(uid, region)| {
            numbers.clone().map(move |number| (uid, key(&host(number).replace("eu-central-1", region))))
        });
        let fetches = keys.map(|(uid, key)| {
            let (source, key) = (Arc::clone(source), CredentialKey { profile: profile.into(), ..key });
            tokio::spawn(async move { fetch_for(&source, &key, uid).await.map(drop) })
        });
        fetches.collect::<Vec<_>>()
    };
    for fetch in join_all(fetches(0..300)).await {
        fetch.unwrap().unwrap();
    }
    *aws.behaviour.lock().unwrap() = Behaviour::HangsOutside("eu-west-1");
    drop(fetches(300..600));
    sleep(Duration::from_millis(100)).await;
}

/// Idle regions keep their limits. Four of them use up `aws.max_in_flight` when they hang, and two callers' shares.
#[tokio::test(start_paused = true)]
async fn p7_grown_regions_that_hang_delay_no_call_in_another_region() {
    for profile in ["default", "ci"] {
        let aws = Aws::healthy(LATENCY);
        let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &admission_settings()));
        hang_four_grown_regions(&source, &aws, profile).await;
        let in_flight: usize = aws.in_flight.lock().unwrap().values().sum();
        assert!(in_flight >= 4 * 45, "{profile}: {in_flight}");
        for uid in [1, 2, 3] {
            let began = Instant::now();
            let keys: Vec<_> = (0..6).map(|number| key(&host(number).replace("eu-central-1", "eu-west-1"))).collect();
            for answer in join_all(keys.iter().map(|key| fetch_for(&source, key, uid))).await {
                answer.unwrap();
            }
            assert!(began.elapsed() < 2 * LATENCY, "{profile}, {uid}: {:?}", began.elapsed());
        }
    }
}

/// Requests cold keys in two regions by one caller, through the cache, and returns the p99 of the healthy region.
async fn p99_beside(other: Behaviour) -> Duration {
    let aws = Aws::new(other);
    let cache = cache(&aws);
    let (mut waits, mut callers) = (Vec::new(), Vec::new());
    for number in 0..1_000 {
        let hanging = lookup(&host(number));
        let (cache, well) = (cache.clone(), lookup(&host(number).replace("eu-central-1", "eu-west-1")));
        let beside = cache.clone();
        callers.push(tokio::spawn(async move { beside.get(hanging).await.map(drop) }));
        waits.push(tokio::spawn(async move {
            let began = Instant::now();
            cache.get(well).await.unwrap();
            began.elapsed()
        }));
        // A little less than the throughput of eight calls in flight.
        sleep(LATENCY / 7).await;
    }
    let mut waits: Vec<_> = join_all(waits).await.into_iter().map(Result::unwrap).collect();
    callers.iter().for_each(tokio::task::JoinHandle::abort);
    waits.sort();
    waits[990]
}

#[tokio::test(start_paused = true)]
async fn p7_hanging_region_leaves_the_latency_of_others_unchanged() {
    let (without, with) =
        (p99_beside(Behaviour::Hangs("nowhere")).await, p99_beside(Behaviour::Hangs("eu-central-1")).await);
    println!("p99 of another region: {without:?} while all regions answer, {with:?} while one hangs");
    assert!(with <= 2 * without, "{with:?}, {without:?}");
}

#[tokio::test(start_paused = true)]
async fn p7_hanging_roles_leave_calls_for_the_broker_identity_in_their_region() {
    let aws = Aws::new(Behaviour::HangsForRoles);
    let source = Arc::new(AdmissionControl::new(Arc::clone(&aws), &admission_settings()));
    for number in 0..50 {
        let (source, key) = (Arc::clone(&source), CredentialKey { profile: "ci".into(), ..key(&host(number)) });
        tokio::spawn(async move { fetch(&source, &key).await.map(drop) });
    }
    tokio::task::yield_now().await;
    for number in 0..20 {
        let began = Instant::now();
        fetch(&source, &key(&host(number))).await.unwrap();
        assert!(began.elapsed() < 2 * LATENCY, "{number}: {:?}", began.elapsed());
    }
}
