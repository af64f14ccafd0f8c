//! Who waits for news of a key.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::credential::CredentialKey;

/// Those who wait, by key. There are as many keys in it as are waited for, and for a while those that were.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<HashMap<CredentialKey, watch::Sender<()>>>);

/// What becomes of one key: that something has, not what.
#[derive(Debug)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Comes back when a fetch of the key has ended, well or badly, since this was last asked.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // Nothing will ever change: the cache has gone.
            std::future::pending::<()>().await;
        }
    }
}

impl Watchers {
    pub(super) fn add(&self, key: &CredentialKey) -> Changes {
        let mut keys = self.keys();
        let sender = match keys.get(key) {
            Some(sender) => sender,
            None => keys.entry(key.clone()).or_insert_with(|| watch::Sender::new(())),
        };
        Changes(sender.subscribe())
    }

    pub(super) fn notify(&self, key: &CredentialKey) {
        if let Some(sender) = self.keys().get(key) {
            sender.send_replace(());
        }
    }

    /// Forgets keys that nobody waits for.
    pub(super) fn sweep(&self) {
        self.keys().retain(|_, sender| sender.receiver_count() > 0);
    }

    /// What it guards is whole between any two statements.
    fn keys(&self) -> MutexGuard<'_, HashMap<CredentialKey, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
