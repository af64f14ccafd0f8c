//! Memory of the callers and origins that were active most recently.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

/// Maximum number of remembered callers, and of remembered origins.
pub(super) const MAX_ENTRIES: u64 = 65_536;
/// Time after which an idle entry is evicted. Longer than any limit takes to recover.
const IDLE_TIME: Duration = Duration::from_mins(10);

/// Returns an empty cache that evicts the entry that was idle for longest.
pub(super) fn cache<K, V>() -> Cache<K, V>
where
    K: Debug + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder().max_capacity(MAX_ENTRIES).time_to_idle(IDLE_TIME).eviction_policy(EvictionPolicy::lru()).build()
}
