//! Keys in a file, which is read again when it changes.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::authn::jwt::key::{Key, KeyFingerprint};
use crate::authn::jwt::key_set::{KeySet, KeySetError};
use crate::authn::jwt::rejected::TokenRejected;
use crate::follow_file::{FileFollower, FilesInEffect, Found};
use crate::log_throttle::LogThrottle;
use crate::trusted_file;

/// The keys of an issuer in a file.
#[derive(Debug)]
pub(in crate::authn::jwt) struct FileKeys {
    issuer: String,
    path: PathBuf,
    /// The contents when the program started, for the first comparison.
    contents: Vec<u8>,
    current: ArcSwap<KeySet>,
}

impl FileKeys {
    pub(super) fn load(issuer: String, path: &Path) -> Result<Self, KeySetError> {
        let unreadable = |problem: String| KeySetError::Unreadable { path: path.to_owned(), problem };
        let contents = trusted_file::read(path).map_err(|error| unreadable(error.to_string()))?;
        let keys = KeySet::read(&contents).map_err(|error| unreadable(format!("cannot be used: {error}")))?;
        if keys.is_empty() {
            return Err(unreadable(format!("cannot be used: {}", KeySetError::NoneUsable)));
        }
        Ok(Self { issuer, path: path.to_owned(), contents, current: ArcSwap::from_pointee(keys) })
    }

    pub(super) fn get(&self, id: &str) -> Result<Key, TokenRejected> {
        self.current.load().get(id).cloned().ok_or(TokenRejected::KeyUnknown)
    }

    pub(super) fn has(&self, key: &KeyFingerprint) -> bool {
        self.current.load().has(key)
    }

    pub(super) async fn follow(&self, in_effect: &FilesInEffect) {
        let path = self.path.clone();
        // An error counts as contents, so it is reported only after two equal readings. A file may be missing for a moment while it
        // is being replaced.
        let read = move || Ok::<_, Infallible>(trusted_file::read(&path).map_err(|error| error.to_string()));
        let mut follower = FileFollower::new("issuer keys", Ok(self.contents.clone()), read);
        let (started, mut log, mut problem) = (Instant::now(), LogThrottle::default(), None);
        loop {
            if let Found::Settled { contents, changed: true } = follower.next().await.found {
                problem = self.replace(contents).err();
                log = LogThrottle::default();
                in_effect.report(&self.path.to_string_lossy(), problem.is_none());
            }
            if let Some(error) = problem.as_ref().filter(|_| log.is_due(started.elapsed())) {
                warn!(issuer = self.issuer, error, "issuer key file rejected; the old keys stay in force");
            }
        }
    }

    fn replace(&self, contents: Result<Vec<u8>, String>) -> Result<(), String> {
        let keys = KeySet::read(&contents?).map_err(|error| error.to_string())?;
        self.current.store(Arc::new(keys));
        info!(issuer = self.issuer, "issuer key file reloaded");
        Ok(())
    }
}
