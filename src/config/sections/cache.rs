//! `[cache]`: the credential cache.

use crate::cache;
use crate::config::reader::Reader;
use crate::config::settings;

pub(in crate::config) fn read(reader: &mut Reader<'_>) -> cache::Settings {
    cache::Settings {
        refresh_after: reader.get(&settings::REFRESH_AFTER),
        safety_margin: reader.get(&settings::SAFETY_MARGIN),
        capacity: reader.get(&settings::CAPACITY),
        max_waiters: usize::try_from(reader.get(&settings::MAX_WAITERS)).unwrap_or(usize::MAX),
    }
}
