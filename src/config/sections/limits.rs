//! `[limits]`: limits per caller and origin.

use std::num::NonZeroU32;

use crate::config::reader::Reader;
use crate::config::settings;
use crate::limits;

pub(in crate::config) fn read(reader: &mut Reader<'_>) -> limits::Settings {
    let mut rate =
        |setting| u32::try_from(reader.get(setting)).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
    limits::Settings {
        requests_per_second: rate(&settings::REQUESTS_PER_SECOND),
        failures_per_second: rate(&settings::FAILURES_PER_SECOND),
        in_flight: usize::try_from(reader.get(&settings::IN_FLIGHT)).unwrap_or(usize::MAX),
    }
}
