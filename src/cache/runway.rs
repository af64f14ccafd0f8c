//! Runway: how long the cached credentials last, read from the cache at each scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::shared::Shared;
use crate::credential::CredentialKey;
use crate::metrics::{Registry, region_label};

const RUNWAY: &str = "ecr_broker_credential_expiry_timestamp_seconds";
const RUNWAY_HELP: &str = "First expiry of a cached credential, in Unix time";

/// The credentials of one label of regions.
#[derive(Debug, Clone, Copy)]
struct OfRegion {
    count: u64,
    /// Without those of grants with a limit: their expiry tells nothing of an outage. `None`: all are such.
    first_expiry: Option<SystemTime>,
}

/// Account, region and profile, as labels.
type KeyLabels = [(&'static str, String); 3];

/// Exposes what is cached: the number and the first expiry of each region's credentials, and the expiry of up to `max_keys` keys, those
/// that expire first. moka's iterator takes no lock that a hit takes.
pub(super) fn expose(registry: &mut Registry, shared: Arc<Shared>, max_keys: usize) {
    registry.on_scrape(move |scrape| {
        let regions = by_region(&shared);
        let label = |region| [("region", region)];
        let counts = regions.iter().map(|(region, it)| (label(*region), it.count));
        scrape.gauges("ecr_broker_cache_entries", "Cached credentials", counts)?;
        let of_region =
            |(region, it): (&&'static str, &OfRegion)| Some((vec![("region", (*region).to_owned())], it.first_expiry?));
        let of_regions = regions.iter().filter_map(of_region);
        let of_keys = first_to_expire(&shared, max_keys).into_iter().map(|(labels, expiry)| (labels.to_vec(), expiry));
        let runway = of_regions.chain(of_keys).map(|(labels, expiry)| (labels, unix_seconds(expiry)));
        scrape.gauges(RUNWAY, RUNWAY_HELP, runway)
    });
}

fn by_region(shared: &Shared) -> BTreeMap<&'static str, OfRegion> {
    let mut regions = BTreeMap::new();
    for (key, entry) in shared.store.iter() {
        let region = regions.entry(region_label(key.registry.region()));
        let it: &mut OfRegion = region.or_insert(OfRegion { count: 0, first_expiry: None });
        it.count += 1;
        let expires = key.lifetime.is_none().then(|| entry.credential.expires());
        it.first_expiry = it.first_expiry.into_iter().chain(expires).min();
    }
    regions
}

/// Returns the keys that expire first. Those of several callers count as one: a caller is never a label. Labels are made only for the
/// keys that are returned, of which there are far fewer.
fn first_to_expire(shared: &Shared, max_keys: usize) -> Vec<(KeyLabels, SystemTime)> {
    if max_keys == 0 {
        return Vec::new();
    }
    let long_lived = shared.store.iter().filter(|(key, _)| key.lifetime.is_none());
    let mut keys: Vec<_> = long_lived.map(|(key, entry)| (entry.credential.expires(), key)).collect();
    keys.sort_by_key(|(expires, _)| *expires);
    let mut seen = BTreeSet::new();
    let labelled = keys.into_iter().map(|(expires, key)| (labels_of(&key), expires));
    labelled.filter(|(labels, _)| seen.insert(labels.clone())).take(max_keys).collect()
}

/// Returns the labels of a key. An account that only AWS knows is left empty.
fn labels_of(key: &CredentialKey) -> KeyLabels {
    let account = key.registry.account().map(|account| account.to_string()).unwrap_or_default();
    let (region, profile) = (region_label(key.registry.region()), key.profile.as_str());
    [("account_id", account), ("region", region.to_owned()), ("profile", profile.to_owned())]
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}
