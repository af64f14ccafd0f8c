//! The status as text. A broker's texts are escaped: the program that answers may not be a broker.

use std::time::{Duration, SystemTime};

use crate::cli::table::{Align, Column, lines};
use crate::pb::{
    AuditSummary, CacheSummary, DescriptorStoreSummary, GetStatusResponse, LimitUsage, PolicyMode, ReadinessCheck,
    ReadinessCheckName, RegionStatus, ReloadSummary, SharedCacheServer, SharedCacheState,
};
use crate::quoted::Visible;
use crate::time_text::{rfc3339_seconds, short};

/// Returns the lines that tell whether anything is wrong. They fit 80 columns.
pub(super) fn glance(status: &GetStatusResponse) -> Vec<String> {
    let failed: Vec<_> = status.checks.iter().filter(|check| !check.passed).map(|it| check_name(it.name())).collect();
    let checks = if failed.is_empty() { "all ok".to_owned() } else { format!("FAIL: {}", failed.join(", ")) };
    let CacheSummary { cached, failing, waiting, .. } = status.cache.unwrap_or_default();
    let cache = format!("{cached} cached{}, {failing} failing, {waiting} callers waiting", first_expiry(status));
    let mut lines = vec![title(status), line("checks", &checks), line("cache", &cache)];
    let failing = status.audit.as_ref().filter(|audit| audit.failing || audit.below_reserve);
    lines.extend(failing.map(|log| line("audit log", &audit(log))));
    let unavailable = status.shared_cache.iter().find(|server| server.state() == SharedCacheState::BreakerOpen);
    lines.extend(unavailable.map(|_| line("shared", &shared_cache(&status.shared_cache))));
    lines
}

fn title(status: &GetStatusResponse) -> String {
    let build = format!("ecr-broker {} (commit {})", Visible(&status.version), Visible(&status.commit));
    let ready = if status.ready { "ready" } else { "NOT READY" };
    let time = time(status.time).map(|time| format!(", at {time}")).unwrap_or_default();
    format!("{build}, up {}, {ready}{time}", short(duration(status.uptime)))
}

fn line(name: &str, text: &str) -> String {
    format!("{name:<12}{text}")
}

fn cache(status: &GetStatusResponse) -> String {
    let CacheSummary { cached, capacity, failing, waiting, .. } = status.cache.unwrap_or_default();
    let first = first_expiry(status);
    format!("{cached} of {capacity} credentials{first}, {failing} keys failing, {waiting} callers waiting")
}

fn first_expiry(status: &GetStatusResponse) -> String {
    let left = status.cache.and_then(|cache| cache.shortest_remaining);
    left.map(|left| format!(", first expiry in {}", short(duration(Some(left))))).unwrap_or_default()
}

pub(super) fn summary(status: &GetStatusResponse) -> Vec<String> {
    let (connections, limits) = (status.connections.unwrap_or_default(), status.limits.unwrap_or_default());
    let [unproved, requests, watches] = [limits.unproved_connections, limits.requests, limits.watches].map(used);
    let [tcp, unix, aws_api] = [connections.tcp, connections.unix, connections.aws_api].map(used);
    let policy = format!("{}, fingerprint {}", policy_mode(status.policy_mode()), Visible(&status.policy));
    let mut lines = vec![
        title(status),
        line("checks", &checks(&status.checks)),
        line("policy", &policy),
        line("config", &format!("fingerprint {}", Visible(&status.configuration))),
        line("identity", &identity(status)),
        line("cache", &cache(status)),
        line("connections", &format!("tcp {tcp}, unix {unix}, aws api {aws_api}, unproved {unproved}")),
        line("limits", &format!("requests in flight {requests}, watched registries {watches}")),
        line("reloads", &reloads(&status.reloads.unwrap_or_default())),
        line("audit log", &status.audit.as_ref().map_or_else(|| "none".to_owned(), audit)),
        line("restart", &status.descriptor_store.as_ref().map_or_else(|| "loses the cache".to_owned(), store)),
    ];
    lines.extend((!status.shared_cache.is_empty()).then(|| line("shared", &shared_cache(&status.shared_cache))));
    lines
}

/// Returns a time, if RFC 3339 can express it.
fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    rfc3339_seconds(SystemTime::try_from(time?).ok()?)
}

fn identity(status: &GetStatusResponse) -> String {
    time(status.identity_expire_time)
        .map_or_else(|| "no expiry known".to_owned(), |time| format!("AWS credentials until {time}"))
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
    let last = time(*last_time).map(|time| {
        let result = if *last_succeeded { "ok" } else { "FAILED" };
        format!(", last {time} {result}")
    });
    format!("{succeeded} ok, {failed} failed{}", last.unwrap_or_default())
}

fn audit(audit: &AuditSummary) -> String {
    let AuditSummary { queued, written, failed, failing, below_reserve, releasing, buffered, lost } = audit;
    let state = match (failing, below_reserve) {
        (true, _) if *releasing => ", FAILING: released without records",
        (true, _) => ", FAILING: nothing is released",
        (false, true) => ", below audit.reserve: denials are only counted",
        (false, false) => "",
    };
    let unrecorded = if *releasing { format!(", {buffered} buffered, {lost} lost") } else { String::new() };
    format!("{written} written, {failed} failed, {queued} queued{unrecorded}{state}")
}

fn store(store: &DescriptorStoreSummary) -> String {
    let DescriptorStoreSummary { kept, bytes, write_time: _, failed, restored, dropped } = store;
    let size = bytes.div_ceil(1024);
    format!(
        "keeps {kept} credentials in {size} KiB, {failed} writes failed; start: {restored} restored, {dropped} dropped"
    )
}

/// Names the servers that are not connected, and counts the others.
fn shared_cache(servers: &[SharedCacheServer]) -> String {
    let (connected, others): (Vec<_>, Vec<_>) =
        servers.iter().partition(|server| server.state() == SharedCacheState::Connected);
    let shown = others.iter().take(3).map(|server| {
        let (name, age) = (Visible(&server.name), short(duration(server.state_age)));
        match (server.state(), server.last_fault.as_str()) {
            (SharedCacheState::BreakerOpen, fault) => format!("{name} UNAVAILABLE for {age} ({})", Visible(fault)),
            _ => format!("{name} connecting for {age}"),
        }
    });
    let counts = format!("{} of {} servers connected", connected.len(), servers.len());
    std::iter::once(counts).chain(shown).collect::<Vec<_>>().join(", ")
}

pub(super) fn regions(regions: &[RegionStatus]) -> Vec<String> {
    let column = |title, align, cell: fn(&RegionStatus) -> String| Column::new(title, align, regions.iter().map(cell));
    lines(&[
        column("REGION", Align::Left, |one| region_name(&one.region) + &via(&one.source)),
        column("IN FLIGHT", Align::Right, |one| one.in_flight.to_string()),
        column("LIMIT", Align::Right, |one| one.limit.to_string()),
        column("QUEUED", Align::Right, |one| one.queued.to_string()),
        column("INTERVAL", Align::Right, |one| match duration(one.interval) {
            Duration::ZERO => "-".to_owned(),
            interval => format!("{}ms", interval.as_millis()),
        }),
        column("BACKOFFS", Align::Right, |one| one.backoffs.to_string()),
        column("RETRIES", Align::Right, |one| one.retries_left.to_string()),
        column("THROTTLED", Align::Left, |one| {
            one.throttled_ago.map_or_else(|| "never".to_owned(), |ago| format!("{} ago", short(duration(Some(ago)))))
        }),
    ])
}

pub(super) fn is_troubled(region: &RegionStatus) -> bool {
    region.queued > 0 || region.backoffs > 0 || !duration(region.interval).is_zero()
}

/// Returns ` via NAME` for a parent broker, and nothing for AWS.
pub(super) fn via(source: &str) -> String {
    source.strip_prefix("parent:").map(|name| format!(" via {}", Visible(name))).unwrap_or_default()
}

pub(super) fn region_name(region: &str) -> String {
    if region.is_empty() { "ECR Public".to_owned() } else { Visible(region).to_string() }
}

fn used(usage: Option<LimitUsage>) -> String {
    let LimitUsage { used, max } = usage.unwrap_or_default();
    format!("{used}/{max}")
}

pub(super) fn duration(duration: Option<prost_types::Duration>) -> Duration {
    duration.and_then(|duration| duration.try_into().ok()).unwrap_or_default()
}
