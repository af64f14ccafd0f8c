//! Outages of hours: warm keys, `keep_warm` and retries.

use super::*;

fn warm_broker(aws: &Arc<Aws>) -> (Arc<Broker>, CredentialCache) {
    let cache = cache(aws);
    (support::broker(cache.clone(), broker_settings(Policy::Open, None)), cache)
}

/// A hundred keys are at most an hour old when AWS fails. A caller requests one of them every second.
#[tokio::test(start_paused = true)]
async fn p5_twelve_hour_outage_costs_warm_keys_no_error_for_10_8_hours() {
    const KEYS: usize = 100;
    let aws = Aws::new(Behaviour::Hangs("nowhere"));
    let cache = cache(&aws);
    // Each key is requested often enough to be refreshed when it is due.
    for number in 0..4 * 3_600 {
        cache.get(lookup(&host(number % KEYS))).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    *aws.behaviour.lock().unwrap() = Behaviour::Fails(FailureClass::Unavailable);
    let outage = Instant::now();
    let (mut served, mut refused, mut first) = (0, 0, None);
    for number in 0..12 * 3_600 {
        match cache.get(lookup(&host(number % KEYS))).await {
            Ok(found) => {
                assert!(found.credential.remaining(aws.clock.now()) >= cache_settings().safety_margin);
                served += 1;
            }
            Err(BrokerError::Upstream(failure)) => {
                assert_eq!(failure.class, FailureClass::Unavailable);
                first.get_or_insert_with(|| outage.elapsed());
                refused += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
        sleep(Duration::from_secs(1)).await;
    }
    let first = first.unwrap();
    println!(
        "{served} served; the first of {refused} refused after {:.2} h of the outage",
        first.as_secs_f64() / 3_600.0
    );
    assert!(first >= HOUR.mul_f64(10.8), "{first:?}");
}

/// No caller comes for twelve hours. Then AWS fails for as long as warm credentials can last.
#[tokio::test(start_paused = true)]
async fn p5_keep_warm_bridges_an_idle_night_and_an_outage_in_the_morning() {
    let aws = Aws::new(Behaviour::Hangs("nowhere"));
    let (broker, cache) = warm_broker(&aws);
    let hosts: Vec<_> = (0..20).map(host).chain(["public.ecr.aws".to_owned()]).collect();
    let registries = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let keeping = tokio::spawn(broker.keep_warm(registries));
    sleep(12 * HOUR).await;
    let calls = aws.calls();
    // One call for each registry at the start, and about one an hour.
    assert!((21 * 11..=21 * 15).contains(&calls), "{calls}");
    *aws.behaviour.lock().unwrap() = Behaviour::Fails(FailureClass::Unavailable);
    let outage = Instant::now();
    while outage.elapsed() < HOUR.mul_f64(10.7) {
        for host in &hosts {
            cache.get(lookup(host)).await.unwrap_or_else(|error| panic!("after {:?}: {error}", outage.elapsed()));
        }
        sleep(Duration::from_mins(5)).await;
    }
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn keep_warm_fetches_one_by_one_at_the_start_by_each_granted_profile() {
    let aws = Aws::new(Behaviour::Hangs("nowhere"));
    let grant = |id: &str, profile: &str, effect| Grant {
        id: id.into(),
        callers: vec![CallerPattern::Loopback],
        registries: vec![RegistryPattern::Public],
        profile: Some(profile.into()),
        effect,
        max_lifetime: None,
    };
    let policy = Policy::Grants(vec![
        grant("a", "pull", Effect::Allow),
        grant("b", "push", Effect::Allow),
        grant("c", "never", Effect::Deny),
        grant("d", "each", Effect::Allow),
    ]);
    let each = Profile {
        name: "each".into(),
        role_chain: Vec::new(),
        access: Access::Pull,
        repositories: Vec::new(),
        extra: ExtraPermissions::default(),
        session_tags: SessionTags::default(),
        attribution: Attribution::Caller,
        source_identity: false,
        verify: None,
    };
    let settings = broker::Settings { profiles: vec![each].into(), ..broker_settings(policy, None) };
    let broker = support::broker(cache(&aws), settings);
    let registries = (0..100).map(|number| host(number).parse().unwrap()).chain([Registry::PUBLIC]).collect();
    let keeping = tokio::spawn(broker.keep_warm(registries));
    sleep(Duration::from_secs(10)).await;
    let called: Vec<_> = aws.calls.lock().unwrap().keys().cloned().collect();
    let mut profiles: Vec<_> = called.iter().map(|key| key.profile.to_string()).collect();
    profiles.sort();
    assert_eq!(profiles, ["pull", "push"], "a denied profile is not fetched: {called:?}");
    keeping.abort();

    let (broker, _) = warm_broker(&aws);
    let keeping = tokio::spawn(broker.keep_warm((0..100).map(|number| host(number).parse().unwrap()).collect()));
    sleep(Duration::from_millis(100)).await;
    assert!(aws.calls() < 2 + 25, "{}", aws.calls());
    sleep(Duration::from_secs(10)).await;
    assert_eq!(aws.calls(), 2 + 100);
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried_within_the_budget_and_others_never() {
    let of = async |class, calls: usize| {
        let aws = Aws::new(Behaviour::Fails(class));
        let source = AdmissionControl::new(Arc::clone(&aws), &admission_settings());
        for number in 0..calls {
            assert_eq!(fetch(&source, &key(&host(number))).await.map(drop).map_err(upstream).unwrap_err().class, class);
        }
        aws.calls()
    };
    assert_eq!(of(FailureClass::Unavailable, 1).await, 3);
    let calls = of(FailureClass::Unavailable, 1_000).await;
    assert!((1_100..=1_110).contains(&calls), "{calls}");
    for class in [
        FailureClass::Throttled,
        FailureClass::Denied,
        FailureClass::InvalidResponse,
        FailureClass::NoCredentials,
        FailureClass::Misconfigured,
    ] {
        let keys = if class == FailureClass::Throttled { 1 } else { 100 };
        assert_eq!(of(class, keys).await, keys, "{class:?}");
    }
}
