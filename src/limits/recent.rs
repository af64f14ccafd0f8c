//! Memory of the callers and origins that were active most recently.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

/// Memory of the remembered callers, and of the remembered origins: 65,536 with short names.
pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Memory of an entry beside the texts of its key.
pub(super) const ENTRY_BYTES: usize = 256;
/// Time after which an idle entry is evicted. Longer than any limit takes to recover.
const IDLE_TIME: Duration = Duration::from_mins(10);

/// Returns an empty cache that evicts the entry that was idle for longest. `bytes` returns the memory of a key's texts.
pub(super) fn cache<K, V>(bytes: fn(&K) -> usize) -> Cache<K, V>
where
    K: Debug + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let size = move |key: &K, _: &V| u32::try_from(ENTRY_BYTES + bytes(key)).unwrap_or(u32::MAX);
    let cache = Cache::builder().max_capacity(MAX_BYTES).weigher(size).time_to_idle(IDLE_TIME);
    cache.eviction_policy(EvictionPolicy::lru()).build()
}
