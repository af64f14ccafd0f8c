use super::super::keys::bar;
use super::*;
use crate::pb::{
    CacheSummary, CachedCredential, FetchFailure, KeyStatus, ReadinessCheck, ReadinessCheckName, RegionStatus,
    ReloadSummary,
};

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn cached(remaining: i64) -> CachedCredential {
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    CachedCredential {
        issue_time: time(0),
        expire_time: time(12 * 3_600),
        remaining: seconds(remaining),
        ..CachedCredential::default()
    }
}

#[test]
fn bar_shows_the_part_of_the_lifetime_that_is_left() {
    for (remaining, shown) in
        [(12 * 3_600, "[##########]"), (6 * 3_600, "[#####-----]"), (60, "[#---------]"), (0, "[----------]")]
    {
        assert_eq!(bar(Some(&cached(remaining))), shown);
    }
    assert_eq!(bar(Some(&CachedCredential { remaining: seconds(5), ..CachedCredential::default() })).len(), 12);
    assert_eq!(bar(None), "[----------]");
}

/// Another program may answer at the broker's address.
#[test]
fn hostile_status_moves_no_cursor() {
    let far = Some(prost_types::Timestamp { seconds: i64::MAX / 2, nanos: 0 });
    let hostile = "\u{1b}[2J\u{202e}\r\n".to_owned();
    let status = GetStatusResponse {
        version: hostile.clone(),
        commit: hostile.clone(),
        policy: hostile.clone(),
        configuration: hostile.clone(),
        identity_expire_time: far,
        policy_mode: 99,
        regions: vec![RegionStatus { region: hostile.clone(), ..RegionStatus::default() }],
        keys: vec![KeyStatus {
            registry: hostile.clone(),
            region: hostile.clone(),
            profile: hostile.clone(),
            failure: Some(FetchFailure { reason: hostile.clone(), age: seconds(-1), ..FetchFailure::default() }),
            cached: Some(CachedCredential { remaining: seconds(i64::MAX), ..cached(1) }),
            ..KeyStatus::default()
        }],
        checks: vec![ReadinessCheck { name: 77, passed: false }],
        time: far,
        reloads: Some(ReloadSummary { last_time: far, ..ReloadSummary::default() }),
        ..GetStatusResponse::default()
    };
    for line in [lines(&status, None), view(&status, (40, 5))].concat() {
        assert!(line.chars().all(|letter| !letter.is_control() && letter != '\u{202e}'), "{line:?}");
    }
    let json = serde_json::to_string(&status).unwrap();
    assert!(json.contains("\"UNKNOWN\"") && json.contains("\"time\":null"), "{json}");
}

fn key(number: usize, error: Option<&str>) -> KeyStatus {
    let failure = error.map(|reason| FetchFailure { reason: reason.to_owned(), age: seconds(70), retry_in: None });
    let (account, region) = (format!("{number:012}"), "ap-southeast-2");
    KeyStatus {
        registry: format!("{account}.dkr.ecr.{region}.amazonaws.com"),
        account_id: account,
        region: region.to_owned(),
        profile: "default".to_owned(),
        cached: failure.is_none().then(|| cached(11 * 3_600)),
        failure,
        ..KeyStatus::default()
    }
}

fn status_of(keys: Vec<KeyStatus>) -> GetStatusResponse {
    let shortest_remaining = seconds(7_200);
    let cache = CacheSummary { cached: 500, matching: 500, shortest_remaining, ..CacheSummary::default() };
    GetStatusResponse { keys, cache: Some(cache), time: Some(prost_types::Timestamp::default()), ..Default::default() }
}

#[test]
fn table_of_keys_fits_the_terminal_and_keeps_the_last_error() {
    let status = status_of(vec![key(1, Some("AWS_THROTTLED")), key(2, None)]);
    let head = |max_width| keys(&status.keys, max_width).remove(0).split_whitespace().collect::<Vec<_>>().join(" ");
    let widest = |max_width| keys(&status.keys, max_width).iter().map(|line| line.chars().count()).max().unwrap();
    assert_eq!(head(None), "REGISTRY PROFILE LEFT REFRESH IN HITS COALESCED LAST ERROR");
    assert!(widest(None) > 110);
    for (max_width, titles) in [
        (110, "REGISTRY PROFILE LEFT REFRESH IN HITS LAST ERROR"),
        (80, "REGISTRY PROFILE LEFT LAST ERROR"),
        (60, "REGISTRY LEFT LAST ERROR"),
    ] {
        assert_eq!(head(Some(max_width)), titles, "{max_width}");
        assert!(widest(Some(max_width)) <= max_width, "{max_width}");
    }
    let narrow = keys(&status.keys, Some(80));
    assert!(narrow[1].starts_with("000000000001 ap-southeast-2 ") && narrow[1].ends_with("AWS_THROTTLED 1m10s ago"));
}

#[test]
fn view_fills_the_terminal_and_says_how_many_keys_are_missing() {
    let paced = RegionStatus { region: "us-west-2".into(), interval: seconds(1), ..RegionStatus::default() };
    let regions = vec![RegionStatus { region: "eu-west-1".into(), ..RegionStatus::default() }, paced];
    let check = |name: ReadinessCheckName, passed| ReadinessCheck { name: name.into(), passed };
    let checks = vec![check(ReadinessCheckName::Serving, true), check(ReadinessCheckName::Audit, false)];
    let keys = (0..100).map(|number| key(number, None)).collect();
    let status = GetStatusResponse { regions, checks, ..status_of(keys) };
    let lines = view(&status, (80, 24));
    let text = lines.join("\n");
    assert_eq!(lines.len(), 24, "{text}");
    assert!(text.contains("first expiry in 2h00m") && text.contains("at 1970-01-01T00:00:00Z"), "{text}");
    assert!(text.contains("us-west-2") && !text.contains("eu-west-1") && !text.contains("fingerprint"), "{text}");
    assert!(lines[1..3].iter().all(|line| line.chars().count() <= 80), "{text}");
    assert!(lines[1].ends_with("FAIL: audit") && lines[2].contains("500 cached, first expiry in 2h00m"), "{text}");
    let rows = lines.iter().filter(|line| line.contains(" ap-southeast-2 ")).count();
    assert_eq!(lines[23], format!("… and {} more keys; enlarge the terminal, or filter", 500 - rows));
    assert!(view(&status, (80, 3)).len() <= 9, "a terminal without room for keys");
    let small = GetStatusResponse { cache: None, ..status_of(vec![key(1, None)]) };
    assert_eq!(view(&small, (200, 24)), super::lines(&small, Some(200)));
}
