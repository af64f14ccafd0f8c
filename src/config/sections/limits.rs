//! `[limits]`: limits per caller and origin.

use std::num::NonZeroU32;

use self::amount::{bytes, rate};
use crate::config::reader::Reader;
use crate::config::settings::Limits;
use crate::limits;

mod amount;
pub(in crate::config) mod callers;

/// Returns the limits, and the rate of recorded denials.
pub(in crate::config) fn read(reader: &mut Reader<'_>) -> (limits::Settings, NonZeroU32) {
    let Limits {
        requests_per_second,
        local_requests_per_second,
        in_flight,
        watch_memory,
        watch_memory_per_caller,
        failures_per_second,
        unproved_connections,
        denials_recorded_per_second,
    } = Limits::read(reader);
    let settings = limits::Settings {
        requests_per_second: rate(requests_per_second),
        local_requests_per_second: rate(local_requests_per_second),
        in_flight,
        watch_memory: bytes(watch_memory),
        watch_memory_per_caller: bytes(watch_memory_per_caller),
        failures_per_second: rate(failures_per_second),
        unproved_connections,
        callers: callers::read(reader),
    };
    (settings, rate(denials_recorded_per_second))
}
