//! Subscriptions to the changes of a key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::credential::CredentialKey;
use crate::error::BrokerError;
use crate::limits::{LimitHits, LimitName};
use crate::sync::lock;

/// Retry delay while too many keys are watched.
const RETRY_DELAY: Duration = Duration::from_mins(1);

/// The subscribed keys. A clone is another handle of the same subscriptions.
#[derive(Debug, Clone)]
pub(super) struct Subscriptions {
    keys: Arc<Mutex<SenderByKey>>,
    max_keys: usize,
    limit_hits: LimitHits,
}

type SenderByKey = HashMap<CredentialKey, watch::Sender<()>>;

/// Subscription to one key. It reports that the key changed, but not how.
#[derive(Debug)]
pub struct KeyChanges {
    key: CredentialKey,
    receiver: watch::Receiver<()>,
    keys: Arc<Mutex<SenderByKey>>,
}

impl KeyChanges {
    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &CredentialKey {
        &self.key
    }

    /// Waits until a fetch of the key has ended, with a credential or a failure, since the last call.
    pub async fn next(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The cache is gone: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for KeyChanges {
    fn drop(&mut self) {
        let mut keys = lock(&self.keys);
        // The count still includes this receiver.
        if keys.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            keys.remove(&self.key);
        }
    }
}

impl Subscriptions {
    /// Allows subscriptions to half of the cache's capacity. Watches look up their keys again and again, and must not evict each
    /// other's credentials.
    pub(super) fn new(capacity: u64, limit_hits: LimitHits) -> Self {
        let max_keys = usize::try_from(capacity.div_ceil(2)).unwrap_or(usize::MAX);
        Self { keys: Arc::default(), max_keys, limit_hits }
    }

    pub(super) fn subscribe(&self, key: &CredentialKey) -> Result<KeyChanges, BrokerError> {
        let mut keys = lock(&self.keys);
        let sender = match keys.get(key) {
            Some(sender) => sender,
            None if keys.len() >= self.max_keys => {
                self.limit_hits.count(LimitName::WatchedKeys);
                return Err(BrokerError::Overloaded { resource: "watched credentials", retry_after: RETRY_DELAY });
            }
            None => keys.entry(key.clone()).or_insert_with(|| watch::Sender::new(())),
        };
        Ok(KeyChanges { key: key.clone(), receiver: sender.subscribe(), keys: Arc::clone(&self.keys) })
    }

    /// Notifies the subscribers of each key that `is_notified` accepts.
    pub(super) fn notify_each(&self, is_notified: impl Fn(&CredentialKey) -> bool) {
        for (_, sender) in lock(&self.keys).iter().filter(|(key, _)| is_notified(key)) {
            sender.send_replace(());
        }
    }

    pub(super) fn notify(&self, key: &CredentialKey) {
        if let Some(sender) = lock(&self.keys).get(key) {
            sender.send_replace(());
        }
    }
}
