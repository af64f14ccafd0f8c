//! The status as a message of the API.

use std::time::{Duration, SystemTime};

use super::query::next_page_token;
use super::{COMMIT, CheckName, PolicyMode, ReloadsStatus, Status, VERSION};
use crate::audit::AuditStatus;
use crate::cache::{CachedTimes, KeyFailure, KeyStatus};
use crate::descriptor_store::{StoreStatus, Written};
use crate::limits::{ConnectionsStatus, LimitsStatus, Used};
use crate::pb;
use crate::registry::Region;
use crate::source::RegionStatus;
use crate::source::shared_cache::valkey::{FaultClass, NodeState, NodeStatus};

impl From<&Status> for pb::GetStatusResponse {
    fn from(status: &Status) -> Self {
        let check = |(name, passed): (CheckName, bool)| pb::ReadinessCheck { name: check_name(name).into(), passed };
        Self {
            time: time(status.time),
            version: VERSION.to_owned(),
            commit: COMMIT.to_owned(),
            start_time: time(status.started),
            uptime: duration(status.uptime),
            policy: status.policy.as_str().to_owned(),
            policy_mode: policy_mode(status.mode).into(),
            checks: status.checks.map(check).into(),
            cache: Some(cache(status)),
            keys: status.keys.keys.iter().map(key).collect(),
            next_page_token: next_page_token(&status.query, status.keys.matching),
            regions: status.regions.iter().map(|one| region(one, status.backoffs(one))).collect(),
            connections: Some(connections(status.connections)),
            limits: Some(limits(status.limits)),
            reloads: Some(reloads(status.reloads)),
            audit: status.audit.map(audit),
            descriptor_store: status.descriptor_store.map(descriptor_store),
            shared_cache: status.shared_cache.iter().map(shared_cache_server).collect(),
            ready: status.ready,
            configuration: status.configuration.as_ref().map(|one| one.as_str().to_owned()).unwrap_or_default(),
            identity_expire_time: status.identity_expires.and_then(time),
        }
    }
}

fn cache(status: &Status) -> pb::CacheSummary {
    pb::CacheSummary {
        cached: number(status.keys.cached),
        capacity: status.keys.capacity,
        failing: number(status.keys.failing),
        matching: number(status.keys.matching),
        waiting: number(status.waiting),
        shortest_remaining: status.keys.shortest.and_then(duration),
    }
}

fn key(key: &KeyStatus) -> pb::KeyStatus {
    pb::KeyStatus {
        registry: key.host(),
        account_id: key.account.map(|account| account.to_string()).unwrap_or_default(),
        region: region_name(key.registry.region()),
        profile: key.profile.to_string(),
        of_one_caller: key.of_one_caller,
        cached: key.cached.map(cached),
        failure: key.failure.map(failure),
        source: key.source.as_ref().map(|source| source.id().to_owned()).unwrap_or_default(),
    }
}

fn cached(cached: CachedTimes) -> pb::CachedCredential {
    pb::CachedCredential {
        issue_time: time(cached.issued),
        expire_time: time(cached.expires),
        remaining: duration(cached.remaining),
        refresh_in: duration(cached.refresh_in),
        stale: cached.is_stale,
        hits: cached.hits,
        coalesced: cached.coalesced,
    }
}

fn failure(failure: KeyFailure) -> pb::FetchFailure {
    let KeyFailure { reason, age, retry_in } = failure;
    pb::FetchFailure { reason: reason.to_owned(), age: duration(age), retry_in: duration(retry_in) }
}

fn region(status: &RegionStatus, backoffs: usize) -> pb::RegionStatus {
    pb::RegionStatus {
        region: region_name(status.region.as_ref()),
        in_flight: number(status.in_flight),
        limit: number(status.limit),
        queued: number(status.queued),
        interval: duration(status.interval),
        retries_left: status.retries_left,
        throttled_ago: status.throttled_ago.and_then(duration),
        backoffs: number(backoffs),
        source: status.source.id().to_owned(),
    }
}

fn connections(status: ConnectionsStatus) -> pb::ConnectionSummary {
    pb::ConnectionSummary { tcp: used(status.tcp), unix: used(status.unix), aws_api: used(status.aws_api) }
}

fn limits(status: LimitsStatus) -> pb::LimitSummary {
    pb::LimitSummary {
        requests: used(status.requests),
        watches: used(status.watches),
        watch_bytes: used(status.watch_bytes),
        unproved_connections: used(status.unproved),
    }
}

fn reloads(status: ReloadsStatus) -> pb::ReloadSummary {
    let (last_time, last_succeeded) = status.last.unzip();
    pb::ReloadSummary {
        succeeded: status.succeeded,
        failed: status.failed,
        last_time: last_time.and_then(time),
        last_succeeded: last_succeeded.unwrap_or_default(),
    }
}

fn audit(status: AuditStatus) -> pb::AuditSummary {
    pb::AuditSummary {
        queued: number(status.queued),
        written: status.written,
        failed: status.failed,
        failing: status.is_failing,
        below_reserve: status.is_below_reserve,
        releasing: status.releases,
        buffered: number(status.buffered),
        lost: status.lost,
    }
}

fn descriptor_store(status: StoreStatus) -> pb::DescriptorStoreSummary {
    let StoreStatus { written, failed, restored, dropped } = status;
    let count = |of: fn(&Written) -> usize| written.as_ref().map_or(0, |written| number(of(written)));
    pb::DescriptorStoreSummary {
        kept: count(|written| written.credentials),
        bytes: count(|written| written.bytes),
        write_time: written.and_then(|written| time(written.time)),
        failed,
        restored,
        dropped,
    }
}

fn shared_cache_server(node: &NodeStatus) -> pb::SharedCacheServer {
    let NodeStatus { name, state, for_, last_fault } = node;
    let state = match state {
        NodeState::Connecting => pb::SharedCacheState::Connecting,
        NodeState::Connected => pb::SharedCacheState::Connected,
        NodeState::BreakerOpen => pb::SharedCacheState::BreakerOpen,
    };
    pb::SharedCacheServer {
        name: name.clone(),
        state: state.into(),
        state_age: duration(*for_),
        last_fault: last_fault.map(FaultClass::as_str).unwrap_or_default().to_owned(),
    }
}

fn check_name(name: CheckName) -> pb::ReadinessCheckName {
    match name {
        CheckName::Configuration => pb::ReadinessCheckName::Configuration,
        CheckName::Identity => pb::ReadinessCheckName::Identity,
        CheckName::Serving => pb::ReadinessCheckName::Serving,
        CheckName::Audit => pb::ReadinessCheckName::Audit,
        CheckName::KeepWarm => pb::ReadinessCheckName::KeepWarm,
        CheckName::Running => pb::ReadinessCheckName::Running,
    }
}

fn policy_mode(mode: PolicyMode) -> pb::PolicyMode {
    match mode {
        PolicyMode::Open => pb::PolicyMode::Open,
        PolicyMode::Enforce => pb::PolicyMode::Enforce,
        PolicyMode::Observe => pb::PolicyMode::Observe,
    }
}

fn region_name(region: Option<&Region>) -> String {
    region.map(ToString::to_string).unwrap_or_default()
}

#[expect(clippy::unnecessary_wraps, reason = "message fields are optional")]
fn used(Used { used, max }: Used) -> Option<pb::LimitUsage> {
    Some(pb::LimitUsage { used: number(used), max: number(max) })
}

#[expect(clippy::unnecessary_wraps, reason = "message fields are optional")]
fn time(time: SystemTime) -> Option<prost_types::Timestamp> {
    Some(time.into())
}

fn duration(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

fn number(number: usize) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}
