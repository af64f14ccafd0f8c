//! A throttling AWS, and bursts of cold keys.

use super::*;

/// Retries after each retry delay, and returns the time until a credential arrived.
async fn retry_until_served(cache: CredentialCache, host: String) -> Duration {
    let began = Instant::now();
    loop {
        match cache.get(lookup(&host)).await {
            Ok(_) => return began.elapsed(),
            Err(error) => sleep(error.retry_after().unwrap_or_else(|| panic!("{error:?}"))).await,
        }
    }
}

/// Runs a thousand callers on 200 cold keys, and returns the longest wait.
async fn thousand_callers(cache: &CredentialCache) -> Duration {
    let callers = (0..1_000).map(|number| tokio::spawn(retry_until_served(cache.clone(), host(number % 200))));
    join_all(callers).await.into_iter().map(Result::unwrap).max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn p6_twenty_calls_a_second_serve_200_keys_in_20_s_with_two_calls_a_key() {
    let aws = Aws::new(Behaviour::Bucket(20.0));
    let longest = thousand_callers(&cache(&aws)).await;
    println!("{} calls, last caller served after {longest:?}", aws.calls());
    assert!(longest <= Duration::from_secs(20), "{longest:?}");
    assert!(aws.calls() <= 400, "{}", aws.calls());
    assert_eq!(aws.most_of_one_key.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn p6_keys_back_off_while_aws_throttles_and_are_served_soon_after() {
    let outage = Duration::from_mins(1);
    let aws = Aws::new(Behaviour::ThrottledUntil(Instant::now() + outage));
    let longest = thousand_callers(&cache(&aws)).await;
    println!("{} calls, last caller served after {longest:?}", aws.calls());
    assert!(longest <= outage + Duration::from_secs(35), "{longest:?}");
    // Backoffs of 0.5, 1, 2, 4, 8, 16 and 30 s: seven calls in the minute, and one that is served.
    let calls = aws.calls.lock().unwrap().values().copied().max().unwrap();
    assert!(calls <= 8, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn p7_thousand_cold_keys_are_served_within_4_s_without_an_error() {
    let aws = Aws::healthy(Duration::from_millis(100));
    let answers = burst(&cache(&aws), 0..1_000, Duration::from_millis(9_800)).await;
    let slowest = answers.iter().map(|(_, after)| *after).max().unwrap();
    println!("1,000 cold keys at 100 ms a call: {slowest:?}");
    assert!(answers.iter().all(|(answer, _)| answer == &Ok(CacheStatus::Miss)));
    assert!(slowest <= Duration::from_secs(4), "{slowest:?}");
    assert_eq!((aws.calls(), aws.most_in_flight()), (1_000, 64));
}

#[tokio::test(start_paused = true)]
async fn p7_hundred_cold_registries_at_400_ms_a_call_are_all_served() {
    let aws = Aws::healthy(Duration::from_millis(400));
    let answers = burst(&cache(&aws), 0..100, Duration::from_millis(29_800)).await;
    let slowest = answers.iter().map(|(_, after)| *after).max().unwrap();
    println!("100 cold registries at 400 ms a call: {slowest:?}");
    assert!(answers.iter().all(|(answer, _)| answer.is_ok()) && slowest <= Duration::from_secs(2), "{slowest:?}");
}
