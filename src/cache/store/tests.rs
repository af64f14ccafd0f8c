use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::cache::cached_hit::CachedHit;
use crate::cache::entry::Uses;
use crate::clock::SystemClock;
use crate::credential::{Credential, Revision, SourceName};
use crate::metrics::Registry;
use crate::moment::Moment;
use crate::profile::{Access, Profile};

fn entry(password: &str) -> Entry {
    let now = SystemClock::new().now();
    let expires = now.wall + Duration::from_hours(12);
    let credential = Credential::new(SourceName::Aws, "AWS", password, now.wall, expires, now).unwrap();
    Entry::new(credential, Duration::from_hours(1), Uses::default())
}

/// The credential that a fetch cached while a pushed update was judged.
#[tokio::test]
async fn update_of_a_replaced_credential_changes_nothing() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let metrics = &mut Registry::default();
    let limit_hits = LimitHits::new(metrics);
    let store = Store::new(16, &clock, &Metrics::new(metrics, limit_hits));
    let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com".parse().unwrap();
    let key = CredentialKey {
        registry: host,
        profile: "default".into(),
        revision: Revision::default(),
        caller: None,
        lifetime: None,
    };
    let (old, fetched) = (Arc::new(entry("old")), Arc::new(entry("fetched")));
    store.insert(key.clone(), Arc::clone(&old)).await;
    store.insert(key.clone(), Arc::clone(&fetched)).await;
    assert!(!store.swap(&key, &old, entry("pushed")).await);
    assert!(Arc::ptr_eq(&store.get(&key).await.unwrap(), &fetched));
    assert!(store.swap(&key, &fetched, entry("pushed")).await);
    assert_ne!(store.get(&key).await.unwrap().credential.id(), fetched.credential.id());
    store.invalidate(&key).await;
    assert!(!store.swap(&key, &fetched, entry("late")).await, "a dropped credential does not come back");
    assert!(store.get(&key).await.is_none());
    assert_eq!(store.index.len(), 0);
}

/// A store of four credentials, and a hit of each key that it had.
struct Used {
    store: Store,
    hits: Vec<Option<(Arc<CachedHit>, Arc<Entry>)>>,
    skips: bool,
}

const KEYS: usize = 9;

impl Used {
    fn new(skips: bool) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let metrics = &mut Registry::default();
        let limit_hits = LimitHits::new(metrics);
        let store = Store::new(4, &clock, &Metrics::new(metrics, limit_hits));
        Self { store, hits: vec![None; KEYS], skips }
    }

    /// Uses a key as a hit does: without a look into the storage, where hits skip it and the key is cached.
    async fn use_key(&self, key: usize) {
        match &self.hits[key] {
            Some((hit, entry)) if self.skips && !entry.is_gone() => self.store.touches.note(hit, entry),
            _ => _ = self.store.get(&of(key)).await,
        }
    }

    /// Caches a key, and has the storage evict at once what is too much.
    async fn insert(&mut self, key: usize) {
        let entry = Arc::new(entry("password"));
        self.hits[key] = Some((Arc::new(CachedHit::new(of(key), &entry)), Arc::clone(&entry)));
        self.store.insert(of(key), entry).await;
        self.store.sweep().await;
    }

    async fn invalidate(&self, key: usize) {
        self.store.invalidate(&of(key)).await;
        self.store.sweep().await;
    }

    fn cached(&self) -> BTreeSet<CredentialKey> {
        self.store.iter().map(|(key, _)| (*key).clone()).collect()
    }
}

fn of(key: usize) -> CredentialKey {
    let host = format!("{key:012}.dkr.ecr.eu-central-1.amazonaws.com").parse().unwrap();
    CredentialKey {
        registry: host,
        profile: "default".into(),
        revision: Revision::default(),
        caller: None,
        lifetime: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]
    #[test]
    fn hits_that_skip_the_storage_evict_the_same_entries(
        steps in proptest::collection::vec((0..8_u8, 0..KEYS), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut looking, mut skipping) = (Used::new(false), Used::new(true));
            for (step, key) in steps {
                for used in [&mut looking, &mut skipping] {
                    match step {
                        0 | 1 => used.insert(key).await,
                        2 => used.invalidate(key).await,
                        3 => used.store.sweep().await,
                        4 => _ = used.store.get(&of(key)).await,
                        _ => used.use_key(key).await,
                    }
                }
                prop_assert_eq!(looking.cached(), skipping.cached());
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn entry_is_gone_before_the_storage_has_another_or_none() {
    let mut used = Used::new(true);
    used.insert(0).await;
    let (_, first) = used.hits[0].clone().unwrap();
    assert!(!first.is_gone());
    used.insert(0).await;
    let (_, second) = used.hits[0].clone().unwrap();
    assert!(first.is_gone() && !second.is_gone());
    used.store.swap(&of(0), &second, entry("pushed")).await;
    assert!(second.is_gone());
    let third = used.store.get(&of(0)).await.unwrap();
    used.store.invalidate(&of(0)).await;
    assert!(third.is_gone());
    used.insert(0).await;
    let (_, fourth) = used.hits[0].clone().unwrap();
    for key in 1..5 {
        used.insert(key).await;
    }
    assert!(fourth.is_gone(), "it was evicted");
}

/// A clock that is read while moka stores an entry, and then has a reload replace the profiles.
#[derive(Debug)]
struct ReloadingClock {
    clock: SystemClock,
    profiles: ActiveProfiles,
    reload: Mutex<Option<Vec<Profile>>>,
}

impl Clock for ReloadingClock {
    fn now(&self) -> Moment {
        if let Some(profiles) = self.reload.try_lock().unwrap().take() {
            self.profiles.replace(profiles);
        }
        self.clock.now()
    }
}

/// The reload's sweep passes before the entry is there.
#[tokio::test]
async fn entry_of_a_profile_replaced_while_it_is_stored_does_not_stay() {
    let profile = |access| Profile { access, ..Profile::of_parent("ci".into()) };
    let profiles = ActiveProfiles::new(vec![profile(Access::Pull)]);
    let (clock, reload) = (SystemClock::new(), Mutex::default());
    let clock = Arc::new(ReloadingClock { clock, profiles: profiles.clone(), reload });
    let metrics = &mut Registry::default();
    let limit_hits = LimitHits::new(metrics);
    let store = Store::new(16, &(Arc::clone(&clock) as _), &Metrics::new(metrics, limit_hits));
    store.profiles.set(profiles).unwrap();
    for caller in [None, Some(Principal::Loopback)] {
        let key = |key: CredentialKey| CredentialKey { profile: "ci".into(), caller: caller.clone(), ..key };
        let (before, during) = (Arc::new(entry("before")), Arc::new(entry("during")));
        let revision = clock.profiles.set().revision(&"ci".into());
        let [stays, goes] = [1, 2].map(|number| CredentialKey { revision, ..key(of(number)) });
        store.insert(stays.clone(), Arc::clone(&before)).await;
        assert!(store.get(&stays).await.is_some() && !before.is_gone());
        let access = if caller.is_none() { Access::Push } else { Access::Full };
        *clock.reload.lock().await = Some(vec![profile(access)]);
        store.insert(goes.clone(), Arc::clone(&during)).await;
        assert!(clock.reload.lock().await.is_none(), "the reload was during the insert");
        assert!(store.get(&goes).await.is_none() && during.is_gone());
        // The reload's sweep, which finds only the other entry.
        store.invalidate(&stays).await;
        store.sweep().await;
        assert_eq!((store.iter().count(), store.index.len()), (0, 0));
    }
}

#[test]
fn noted_hit_keeps_no_credential_in_memory() {
    let (touches, entry) = (Touches::default(), Arc::new(entry("password")));
    let hit = Arc::new(CachedHit::new(of(0), &entry));
    touches.note(&hit, &entry);
    let credential = Arc::downgrade(&entry.credential);
    drop(entry);
    assert!(credential.upgrade().is_none() && hit.entry().is_none());
    assert_eq!(touches.take().count(), 0);
}
