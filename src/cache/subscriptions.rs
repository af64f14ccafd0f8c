//! Who waits for news of a key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::credential::CredentialKey;
use crate::error::BrokerError;
use crate::sync::lock;

/// When somebody may have stopped watching.
const WAIT: Duration = Duration::from_mins(1);

/// Those who wait, by key; keys that nobody waits for are not in it. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Subscriptions {
    keys: Arc<Mutex<Keys>>,
    most: usize,
}

type Keys = HashMap<CredentialKey, watch::Sender<()>>;

/// What becomes of one key: that something has, not what.
#[derive(Debug)]
pub struct KeyChanges {
    key: CredentialKey,
    receiver: watch::Receiver<()>,
    keys: Arc<Mutex<Keys>>,
}

impl KeyChanges {
    /// Which key it is.
    #[must_use]
    pub fn key(&self) -> &CredentialKey {
        &self.key
    }

    /// Comes back when a fetch of the key has ended, well or badly, since this was last asked.
    pub async fn next(&mut self) {
        if self.receiver.changed().await.is_err() {
            // Nothing will ever change: the cache has gone.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for KeyChanges {
    fn drop(&mut self) {
        let mut keys = lock(&self.keys);
        // This one is counted still.
        if keys.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            keys.remove(&self.key);
        }
    }
}

impl Subscriptions {
    /// As many keys as half of what the cache holds: watched keys are looked at again and again, and must not push each other out.
    pub(super) fn new(capacity: u64) -> Self {
        Self { keys: Arc::default(), most: usize::try_from(capacity.div_ceil(2)).unwrap_or(usize::MAX) }
    }

    pub(super) fn add(&self, key: &CredentialKey) -> Result<KeyChanges, BrokerError> {
        let mut keys = lock(&self.keys);
        let sender = match keys.get(key) {
            Some(sender) => sender,
            None if keys.len() >= self.most => {
                return Err(BrokerError::Overloaded { resource: "watched credentials", retry_after: WAIT });
            }
            None => keys.entry(key.clone()).or_insert_with(|| watch::Sender::new(())),
        };
        Ok(KeyChanges { key: key.clone(), receiver: sender.subscribe(), keys: Arc::clone(&self.keys) })
    }

    pub(super) fn notify(&self, key: &CredentialKey) {
        if let Some(sender) = lock(&self.keys).get(key) {
            sender.send_replace(());
        }
    }
}
