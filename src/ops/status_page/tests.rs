use std::time::{Duration, SystemTime};

use super::*;
use crate::audit::AuditStatus;
use crate::cache::{CachedTimes, KeyFailure, KeyQuery, KeyStatus, KeysStatus};
use crate::credential::SourceName;
use crate::limits::{ConnectionsStatus, LimitsStatus};
use crate::source::RegionStatus;
use crate::source::shared_cache::valkey::{FaultClass, NodeState, NodeStatus};
use crate::status::{Fingerprint, ReloadsStatus};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
const HOUR: Duration = Duration::from_hours(1);

fn key(number: usize, remaining: Duration) -> KeyStatus {
    let host = format!("{number:012}.dkr.ecr.eu-west-1.amazonaws.com");
    let registry: crate::registry::Registry = host.parse().unwrap();
    let cached = CachedTimes {
        issued: NOW,
        expires: NOW + 12 * HOUR,
        remaining,
        refresh_in: HOUR,
        is_stale: false,
        hits: 7,
        coalesced: 3,
    };
    let account = registry.account();
    KeyStatus {
        registry,
        account,
        profile: "ci".into(),
        of_one_caller: false,
        cached: Some(cached),
        failure: None,
        source: None,
    }
}

fn shortest(keys: &[KeyStatus]) -> Option<Duration> {
    keys.iter().filter_map(|key| Some(key.cached?.remaining)).min()
}

fn status(keys: Vec<KeyStatus>) -> Status {
    let (cached, failing) = (keys.len(), keys.iter().filter(|key| key.failure.is_some()).count());
    Status {
        time: NOW + HOUR,
        started: NOW,
        uptime: HOUR,
        policy: Fingerprint::of("0123456789abcdef"),
        configuration: Some(Fingerprint::of("fedcba9876543210")),
        identity_expires: Some(NOW + 6 * HOUR),
        mode: PolicyMode::Enforce,
        ready: true,
        checks: [(CheckName::Running, true); 6],
        waiting: 0,
        keys: KeysStatus {
            matching: cached,
            shortest: shortest(&keys),
            keys,
            cached,
            failing,
            backoffs: [].into(),
            capacity: 10_000,
        },
        query: KeyQuery { limit: 100, ..KeyQuery::default() },
        regions: Vec::new(),
        connections: ConnectionsStatus::default(),
        limits: LimitsStatus::default(),
        reloads: ReloadsStatus::default(),
        audit: None,
        descriptor_store: None,
        shared_cache: Vec::new(),
    }
}

#[test]
fn page_shows_what_is_left_of_each_credential_and_why_fetches_fail() {
    let failure = KeyFailure { reason: "AWS_THROTTLED", age: 20 * Duration::from_secs(1), retry_in: HOUR };
    let failing = KeyStatus { cached: None, failure: Some(failure), ..key(3, HOUR) };
    let page = page(&status(vec![key(1, 9 * HOUR), key(2, 2 * HOUR), failing]));
    for part in [
        "<span>000000000001.</span><wbr><span>dkr.</span><wbr><span>ecr.</span><wbr><span>eu-west-1.</span>",
        "<span>9h00m</span><svg class=\"bar good\"",
        "<rect width=\"75\"",
        "<span>2h00m</span><svg class=\"bar low\"",
        "no credential",
        "AWS_THROTTLED",
        "20s ago, retry in 1h00m",
        "href=\"/status?region=eu-west-1\"",
        "href=\"/status?profile=ci\"",
        "1970-01-01 12:00</time>",
        "7<span class=\"where\">3 coalesced</span>",
        "configuration <code>fedcba9876543210</code>",
        "1970-01-01 06:00:00 UTC",
        ">Ready<",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn glance_shows_the_first_expiry_and_what_is_wrong() {
    let failure = KeyFailure { reason: "AWS_THROTTLED", age: HOUR, retry_in: HOUR };
    let keys = vec![key(1, 9 * HOUR), KeyStatus { failure: Some(failure), ..key(2, HOUR / 2) }];
    let region = RegionStatus {
        source: SourceName::Aws,
        region: None,
        in_flight: 3,
        limit: 8,
        queued: 2,
        interval: Duration::from_millis(50),
        retries_left: 4,
        throttled_ago: None,
    };
    let troubled = page(&Status { regions: vec![region], ready: false, ..status(keys) });
    for part in [
        "<title>ecr-broker: not ready, 1 failing</title>",
        "<dt>First expiry in</dt><dd class=\"bad\">30m00s</dd><dd class=\"where\">2 cached of 10000</dd>",
        "<dt>Failing keys</dt><dd class=\"bad\">1</dd><dd class=\"where\"><a href=\"/status?failing=1\">",
        "<dd class=\"low\">1 region</dd><dd class=\"where\">3 calls in flight, 2 queued</dd>",
    ] {
        assert!(troubled.contains(part), "{part}: {troubled}");
    }
    let well = page(&status(Vec::new()));
    for part in ["<title>ecr-broker: ready</title>", "<dd class=\"plain\">–</dd>", "<dd class=\"good\">0</dd>"] {
        assert!(well.contains(part), "{part}: {well}");
    }
}

#[test]
fn page_without_keys_says_so_and_a_full_one_links_to_the_next() {
    assert!(page(&status(Vec::new())).contains("No key is cached yet."));
    let mut full = status((0..100).map(|number| key(number, HOUR)).collect());
    full.keys.matching = 500;
    assert!(page(&full).contains("<a href=\"/status?page=MTAw\">Next page</a>"));
    full.query.skip = 400;
    let last = page(&full);
    assert!(!last.contains("Next page") && last.contains("First page") && last.contains("Keys 401 to 500 of 500"));
}

#[test]
fn page_shows_trouble_of_regions_reloads_and_the_audit_log() {
    let region = RegionStatus {
        source: SourceName::Aws,
        region: Some("eu-west-1".parse().unwrap()),
        in_flight: 1,
        limit: 8,
        queued: 2,
        interval: Duration::from_millis(50),
        retries_left: 4,
        throttled_ago: Some(HOUR),
    };
    let mut waiting = status(Vec::new());
    waiting.keys.backoffs = [(region.region.clone(), 3), (None, 7)].into();
    let reloads = ReloadsStatus { succeeded: 1, failed: 1, last: Some((NOW, false)) };
    let audit = AuditStatus { is_failing: true, ..AuditStatus::default() };
    let status = Status { ready: false, regions: vec![region], reloads, audit: Some(audit), ..waiting };
    let page = page(&status);
    for part in [
        "Not ready",
        "50 ms",
        "1h00m ago",
        "failed",
        "failing: nothing is released",
        "<strong class=\"low\">3</strong>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

/// Names come from parsers that accept no markup; the page does not rely on that.
#[test]
fn page_escapes_names() {
    let hostile = "\"><script>alert(1)</script>&'";
    let mut status = status(vec![KeyStatus { profile: hostile.into(), ..key(1, HOUR) }]);
    status.query.filter.profile = Some(hostile.into());
    let page = page(&status);
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
}

/// The policy allows no inline style but this one, no script, and no attribute with a style.
#[test]
fn page_has_no_script_and_its_style_is_the_one_that_the_policy_allows() {
    let page = page(&status(vec![key(1, HOUR)]));
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = BASE64.encode(&Sha256::digest(style));
    assert!(CONTENT_SECURITY_POLICY.contains(&format!("style-src 'sha256-{hash}'")));
    assert!(
        !page.contains("style=") && !page.contains("<script") && !page.contains("onclick") && !page.contains("http")
    );
    assert!(!style.contains("url(") && !style.contains("@import"));
}

#[test]
fn page_of_many_keys_stays_small() {
    let page = page(&status((0..500).map(|number| key(number, HOUR)).collect()));
    assert!(page.len() < 1_000_000, "{}", page.len());
}

#[test]
fn card_shows_the_servers_of_the_shared_cache() {
    let server = |name: &str, state, last_fault| NodeStatus { name: name.to_owned(), state, for_: HOUR, last_fault };
    let shared_cache = vec![
        server("10.0.0.1:6379", NodeState::Connected, Some(FaultClass::Timeout)),
        server("10.0.0.2:6379", NodeState::BreakerOpen, Some(FaultClass::ReadOnly)),
        server("<b>", NodeState::Connecting, None),
    ];
    let page = page(&Status { shared_cache, ..status(Vec::new()) });
    for part in [
        "<dt>10.0.0.1:6379</dt><dd>connected for 1h00m</dd>",
        "<dt>10.0.0.2:6379</dt><dd><strong class=\"bad\">unavailable for 1h00m</strong>, read_only</dd>",
        "<dt>&lt;b&gt;</dt>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}
