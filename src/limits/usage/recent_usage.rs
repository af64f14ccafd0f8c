//! The usage of one caller, as it was looked up a moment ago.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::CallerUsage;
use crate::sync::lock;

/// Time until the usage is looked up again, which marks the caller as active. It is much shorter than the time after which an idle
/// caller is forgotten.
pub(super) const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);

/// The usage of a caller, for its next requests. It does not keep a caller that the limits forget.
#[derive(Debug, Default)]
pub struct RecentUsage(Mutex<Looked>);

#[derive(Debug, Default)]
struct Looked {
    usage: Weak<CallerUsage>,
    /// When it was looked up, on the monotonic clock.
    at: Duration,
}

impl RecentUsage {
    /// Returns the usage, which `look_up` finds if the last time was not a moment ago.
    pub(super) fn get(&self, now: Duration, look_up: impl FnOnce() -> Arc<CallerUsage>) -> Arc<CallerUsage> {
        let looked = &mut *lock(&self.0);
        let is_recent = now.saturating_sub(looked.at) < LOOKUP_INTERVAL;
        if let Some(usage) = looked.usage.upgrade().filter(|_| is_recent) {
            return usage;
        }
        let usage = look_up();
        *looked = Looked { usage: Arc::downgrade(&usage), at: now };
        usage
    }
}
