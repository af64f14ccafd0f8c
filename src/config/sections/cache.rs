//! `[cache]`: the credential cache.

use std::time::Duration;

use crate::cache;
use crate::config::reader::Reader;
use crate::config::settings;
use crate::source::aws::admission::LONGEST_QUEUE;

pub(in crate::config) fn read(reader: &mut Reader<'_>, operation_timeout: Duration) -> cache::Settings {
    cache::Settings {
        refresh_after: reader.get(&settings::REFRESH_AFTER),
        safety_margin: reader.get(&settings::SAFETY_MARGIN),
        capacity: reader.get(&settings::CAPACITY),
        max_waiters: usize::try_from(reader.get(&settings::MAX_WAITERS)).unwrap_or(usize::MAX),
        fetch_timeout: LONGEST_QUEUE + operation_timeout + Duration::from_secs(1),
    }
}
