//! State by key that lasts while some task has a handle of it.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use crate::credential::CredentialKey;
use crate::sync::lock;

/// State by key. A clone is another handle of the same map.
#[derive(Debug, Clone, Default)]
pub(super) struct ByKey<T>(Arc<Mutex<HashMap<CredentialKey, Shared<T>>>>);

/// The state of one key, and the number of its handles.
#[derive(Debug, Default)]
struct Shared<T> {
    state: T,
    handles: usize,
}

/// A handle of a key's state. Dropping the last one removes the key.
#[derive(Debug)]
pub(super) struct Joined<T> {
    key: CredentialKey,
    state: T,
    by_key: ByKey<T>,
}

impl<T: Clone + Default> ByKey<T> {
    /// Returns a handle of the key's state, which begins as its default.
    pub(super) fn join(&self, key: &CredentialKey) -> Joined<T> {
        let mut by_key = lock(&self.0);
        let shared = by_key.entry(key.clone()).or_default();
        shared.handles += 1;
        Joined { key: key.clone(), state: shared.state.clone(), by_key: self.clone() }
    }
}

impl<T> Deref for Joined<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> Drop for Joined<T> {
    fn drop(&mut self) {
        let mut by_key = lock(&self.by_key.0);
        if let Some(shared) = by_key.get_mut(&self.key) {
            shared.handles -= 1;
            if shared.handles == 0 {
                by_key.remove(&self.key);
            }
        }
    }
}
