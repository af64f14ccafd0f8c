//! The status as text. A broker's texts are escaped: the program that answers may not be a broker.

use std::time::Duration;

use crate::cli::table::{Align, table};
use crate::pb::{
    AuditSummary, CachedCredential, GetStatusResponse, KeyStatus, LimitUsage, PolicyMode, ReadinessCheck,
    ReadinessCheckName, RegionStatus, ReloadSummary,
};
use crate::quoted::Visible;
use crate::time_text::{rfc3339_seconds, short};

/// Cells of the bar of what is left of a credential.
const BAR: usize = 10;

/// Returns the lines of a status, without control characters.
pub(super) fn lines(status: &GetStatusResponse) -> Vec<String> {
    let mut lines = summary(status);
    if !status.regions.is_empty() {
        lines.push(String::new());
        lines.extend(regions(&status.regions));
    }
    lines.push(String::new());
    lines.extend(keys(&status.keys));
    let matching = status.cache.as_ref().map_or(0, |cache| cache.matching);
    let shown = u64::try_from(status.keys.len()).unwrap_or(u64::MAX);
    if matching > shown {
        lines.push(format!("… and {} more keys; raise --limit, or filter", matching - shown));
    }
    lines
}

fn summary(status: &GetStatusResponse) -> Vec<String> {
    let cache = status.cache.unwrap_or_default();
    let (connections, limits) = (status.connections.unwrap_or_default(), status.limits.unwrap_or_default());
    let build = format!("ecr-broker {} (commit {})", Visible(&status.version), Visible(&status.commit));
    let [unproved, requests, watches] = [limits.unproved_connections, limits.requests, limits.watches].map(used);
    let line = |name: &str, text: String| format!("{name:<12}{text}");
    vec![
        format!("{build}, up {}, {}", short(duration(status.uptime)), if status.ready { "ready" } else { "NOT READY" }),
        line("checks", checks(&status.checks)),
        line("policy", format!("{}, fingerprint {}", policy_mode(status.policy_mode()), Visible(&status.policy))),
        line("config", format!("fingerprint {}", Visible(&status.configuration))),
        line("identity", identity(status)),
        line(
            "cache",
            format!(
                "{} of {} credentials, {} keys failing, {} callers waiting",
                cache.cached, cache.capacity, cache.failing, cache.waiting
            ),
        ),
        line(
            "connections",
            format!(
                "tcp {}, unix {}, aws api {}, unproved {unproved}",
                used(connections.tcp),
                used(connections.unix),
                used(connections.aws_api)
            ),
        ),
        line("limits", format!("requests in flight {requests}, watched registries {watches}")),
        line("reloads", reloads(&status.reloads.unwrap_or_default())),
        line("audit log", status.audit.as_ref().map_or_else(|| "none".to_owned(), audit)),
    ]
}

fn identity(status: &GetStatusResponse) -> String {
    let expires = status.identity_expire_time.and_then(|time| std::time::SystemTime::try_from(time).ok());
    let expires = expires.and_then(rfc3339_seconds);
    expires.map_or_else(|| "no expiry known".to_owned(), |time| format!("AWS credentials until {time}"))
}

fn checks(checks: &[ReadinessCheck]) -> String {
    let text =
        |check: &ReadinessCheck| format!("{} {}", check_name(check.name()), if check.passed { "ok" } else { "FAIL" });
    checks.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn check_name(name: ReadinessCheckName) -> &'static str {
    match name {
        ReadinessCheckName::Unspecified => "unknown",
        ReadinessCheckName::Configuration => "configuration",
        ReadinessCheckName::Identity => "AWS identity",
        ReadinessCheckName::Serving => "serving",
        ReadinessCheckName::Audit => "audit",
        ReadinessCheckName::KeepWarm => "keep_warm",
        ReadinessCheckName::Running => "running",
    }
}

fn policy_mode(mode: PolicyMode) -> &'static str {
    match mode {
        PolicyMode::Unspecified => "unknown",
        PolicyMode::Open => "open: no grants are configured",
        PolicyMode::Enforce => "grants enforced",
        PolicyMode::Observe => "grants observed only",
    }
}

fn reloads(reloads: &ReloadSummary) -> String {
    let ReloadSummary { succeeded, failed, last_time, last_succeeded } = reloads;
    let last = last_time.and_then(|time| std::time::SystemTime::try_from(time).ok());
    let last = last.and_then(rfc3339_seconds).map(|time| {
        let result = if *last_succeeded { "ok" } else { "FAILED" };
        format!(", last {time} {result}")
    });
    format!("{succeeded} ok, {failed} failed{}", last.unwrap_or_default())
}

fn audit(audit: &AuditSummary) -> String {
    let AuditSummary { queued, written, failed, failing, below_reserve } = audit;
    let state = match (failing, below_reserve) {
        (true, _) => ", FAILING: nothing is released",
        (false, true) => ", below audit.reserve: denials are only counted",
        (false, false) => "",
    };
    format!("{written} written, {failed} failed, {queued} queued{state}")
}

fn regions(regions: &[RegionStatus]) -> Vec<String> {
    let row = |one: &RegionStatus| {
        let interval = duration(one.interval);
        [
            region_name(&one.region),
            one.in_flight.to_string(),
            one.limit.to_string(),
            one.queued.to_string(),
            if interval.is_zero() { "-".to_owned() } else { format!("{}ms", interval.as_millis()) },
            one.retries_left.to_string(),
            one.throttled_ago.map_or_else(|| "never".to_owned(), |ago| format!("{} ago", short(duration(Some(ago))))),
        ]
    };
    let head = [
        ("REGION", Align::Left),
        ("IN FLIGHT", Align::Right),
        ("LIMIT", Align::Right),
        ("QUEUED", Align::Right),
        ("INTERVAL", Align::Right),
        ("RETRIES LEFT", Align::Right),
        ("THROTTLED", Align::Left),
    ];
    table(head, &regions.iter().map(row).collect::<Vec<_>>())
}

fn keys(keys: &[KeyStatus]) -> Vec<String> {
    if keys.is_empty() {
        return vec!["no keys".to_owned()];
    }
    let head = [
        ("REGISTRY", Align::Left),
        ("PROFILE", Align::Left),
        ("LEFT", Align::Left),
        ("", Align::Right),
        ("REFRESH IN", Align::Right),
        ("HITS", Align::Right),
        ("COALESCED", Align::Right),
        ("LAST ERROR", Align::Left),
    ];
    table(head, &keys.iter().map(key).collect::<Vec<_>>())
}

fn key(key: &KeyStatus) -> [String; 8] {
    let cached = key.cached.as_ref();
    let of_cached = |text: fn(&CachedCredential) -> String| cached.map_or_else(|| "-".to_owned(), text);
    let one_caller = if key.of_one_caller { " (one caller)" } else { "" };
    [
        registry(key) + one_caller,
        Visible(&key.profile).to_string(),
        bar(cached),
        of_cached(|cached| short(duration(cached.remaining))),
        of_cached(|cached| short(duration(cached.refresh_in))),
        of_cached(|cached| cached.hits.to_string()),
        of_cached(|cached| cached.coalesced.to_string()),
        error(key),
    ]
}

fn registry(key: &KeyStatus) -> String {
    if key.registry.is_empty() {
        return format!("own account, {}", region_name(&key.region));
    }
    Visible(&key.registry).to_string()
}

fn region_name(region: &str) -> String {
    if region.is_empty() { "ECR Public".to_owned() } else { Visible(region).to_string() }
}

fn error(key: &KeyStatus) -> String {
    let stale = key.cached.as_ref().is_some_and(|cached| cached.stale).then_some("stale");
    let failure = key
        .failure
        .as_ref()
        .map(|failure| format!("{} {} ago", Visible(&failure.reason), short(duration(failure.age))));
    let parts: Vec<_> = stale.map(str::to_owned).into_iter().chain(failure).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

/// Returns a bar of the part of the credential's lifetime that is left.
fn bar(cached: Option<&CachedCredential>) -> String {
    let filled = cached.map_or(0, |cached| {
        let (remaining, lifetime) = (duration(cached.remaining).as_secs(), lifetime(cached).as_secs().max(1));
        usize::try_from(remaining.saturating_mul(10).div_ceil(lifetime)).unwrap_or(BAR).min(BAR)
    });
    format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR - filled))
}

fn lifetime(cached: &CachedCredential) -> Duration {
    let time = |time: Option<prost_types::Timestamp>| std::time::SystemTime::try_from(time?).ok();
    let lifetime = time(cached.expire_time).zip(time(cached.issue_time));
    lifetime.and_then(|(expires, issued)| expires.duration_since(issued).ok()).unwrap_or_default()
}

fn used(usage: Option<LimitUsage>) -> String {
    let LimitUsage { used, max } = usage.unwrap_or_default();
    format!("{used}/{max}")
}

fn duration(duration: Option<prost_types::Duration>) -> Duration {
    duration.and_then(|duration| duration.try_into().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::FetchFailure;

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
        for line in lines(&status) {
            assert!(line.chars().all(|letter| !letter.is_control() && letter != '\u{202e}'), "{line:?}");
        }
        let json = serde_json::to_string(&status).unwrap();
        assert!(json.contains("\"UNKNOWN\"") && json.contains("\"time\":null"), "{json}");
    }
}
