//! Fields of the operator's messages as JSON. `build.rs` derives the rest.
//!
//! Times are RFC 3339, durations are seconds, and enum values have no prefix.

use std::time::SystemTime;

use serde::{Serialize as _, Serializer};

use crate::time_text::rfc3339_millis;

use super::{KeyOrder, PolicyMode, ReadinessCheckName, SharedCacheState};

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(crate) fn time<S: Serializer>(time: &Option<prost_types::Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    let time: Option<SystemTime> = time.and_then(|time| time.try_into().ok());
    time.and_then(rfc3339_millis).serialize(to)
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(crate) fn seconds<S: Serializer>(duration: &Option<prost_types::Duration>, to: S) -> Result<S::Ok, S::Error> {
    let duration: Option<std::time::Duration> = duration.and_then(|duration| duration.try_into().ok());
    duration.map(|duration| (duration.as_secs_f64() * 1_000.0).round() / 1_000.0).serialize(to)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
pub(crate) fn policy_mode<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
    name(PolicyMode::try_from(*value).ok().map(|mode| mode.as_str_name()), "POLICY_MODE_", to)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
pub(crate) fn check_name<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
    let check = ReadinessCheckName::try_from(*value).ok();
    name(check.map(|check| check.as_str_name()), "READINESS_CHECK_NAME_", to)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
pub(crate) fn key_order<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
    name(KeyOrder::try_from(*value).ok().map(|order| order.as_str_name()), "KEY_ORDER_", to)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
pub(crate) fn shared_cache_state<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
    let state = SharedCacheState::try_from(*value).ok();
    name(state.map(|state| state.as_str_name()), "SHARED_CACHE_STATE_", to)
}

/// Writes the name of an enum value without its prefix. A newer broker's value has no name here.
fn name<S: Serializer>(name: Option<&'static str>, prefix: &str, to: S) -> Result<S::Ok, S::Error> {
    name.map_or("UNKNOWN", |name| name.strip_prefix(prefix).unwrap_or(name)).serialize(to)
}
