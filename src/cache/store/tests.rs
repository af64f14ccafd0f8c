use super::*;
use crate::cache::entry::Uses;
use crate::clock::SystemClock;
use crate::credential::{Credential, SourceName};
use crate::metrics::Registry;

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
    let key = CredentialKey { registry: host, profile: "default".into(), caller: None };
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
