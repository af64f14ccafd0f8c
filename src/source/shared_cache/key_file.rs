//! Keys file: read at the start, and again when it changes. A broken one changes nothing.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::time::Instant;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::key_ring::KeyRing;
use super::keys::{Keys, KeysFileError};
use crate::follow_file::{FileFollower, FilesInEffect, Found, Hangups};
use crate::log_throttle::LogThrottle;
use crate::seal::SealError;
use crate::supervise;
use crate::trusted_file::{self, TrustedFileError};

/// What the follower of the file is called in logs.
const FILE: &str = "shared cache keys";

/// The contents of a keys file. A clone is a handle of the same, so that no copy of a key is left in memory.
type Contents = Arc<Zeroizing<Vec<u8>>>;

/// A keys file and the keys that are in effect.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    /// The contents at the start, for the first comparison.
    contents: Contents,
    ring: Arc<KeyRing>,
}

/// Why a keys file cannot be used. The text continues the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Its contents are not a keys file's, or another user could read or write it.
    #[error(transparent)]
    Keys(#[from] KeysFileError),
    /// The cryptographic library failed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl KeyFile {
    /// Reads the file.
    ///
    /// # Errors
    /// Returns why the file cannot be used.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let contents = read(path).map_err(KeysFileError::from)?;
        let ring = Arc::new(KeyRing::new(&Keys::parse(&contents)?)?);
        Ok(Self { path: path.to_owned(), contents, ring })
    }

    /// Returns the keys in effect, which follow the file while [`Self::follow`] is polled.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring)
    }

    /// Reads the file again at every `hangup`, and when it has changed. A broken file changes nothing, is logged once a minute, and is not
    /// in effect.
    pub async fn follow(self: Arc<Self>, hangup: Signal, in_effect: FilesInEffect) {
        let hangups = Hangups::new(hangup);
        let start = || Arc::clone(&self).follow_file(hangups.receiver(), in_effect.clone());
        supervise::run("shared cache key reload", start).await;
    }

    async fn follow_file(self: Arc<Self>, hangup: Option<Signal>, in_effect: FilesInEffect) {
        let path = self.path.clone();
        // An error counts as contents, so it is reported only after two equal readings: a file that is being replaced may be missing.
        let read = move || Ok::<_, Infallible>(read(&path));
        let mut follower = FileFollower::new(FILE, Ok(Arc::clone(&self.contents)), read).on_hangup(hangup);
        let (started, mut log, mut problem) = (Instant::now(), LogThrottle::default(), None);
        loop {
            if let Found::Settled { contents, changed: true } = follower.next().await.found {
                problem = self.replace(contents).err().map(|error| error.to_string());
                log = LogThrottle::default();
                in_effect.report(&self.path.to_string_lossy(), problem.is_none());
            }
            if let Some(error) = problem.as_ref().filter(|_| log.is_due(started.elapsed())) {
                warn!(file = %self.path.display(), error, "shared cache keys rejected; the old ones stay in effect");
            }
        }
    }

    fn replace(&self, contents: Result<Contents, TrustedFileError>) -> Result<(), KeyFileError> {
        let keys = Keys::parse(&contents.map_err(KeysFileError::from)?)?;
        self.ring.replace(&keys)?;
        info!(keys = keys.summary().join(", "), "shared cache keys reloaded");
        Ok(())
    }
}

fn read(path: &Path) -> Result<Contents, TrustedFileError> {
    trusted_file::read_secret(path).map(|contents| Arc::new(Zeroizing::new(contents)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::source::shared_cache::entry_key::EntryParts;

    fn parts() -> EntryParts {
        EntryParts {
            service: "ecr",
            partition: "aws",
            account: String::new(),
            region: String::new(),
            endpoint: String::new(),
            identity: String::new(),
            session_policy: String::new(),
            attribution: String::new(),
        }
    }

    /// Returns whether the keys in effect open what these seal.
    fn opens(ring: &KeyRing, keys: &[u8]) -> bool {
        let (parts, other) = (parts(), KeyRing::new(&Keys::parse(keys).unwrap()).unwrap());
        let sealed = other.current().seal(&parts.key(), Zeroizing::new(b"x".to_vec())).unwrap();
        ring.current().open(&parts.key(), &sealed).is_ok()
    }

    fn text() -> Vec<u8> {
        let lines = Keys::random().unwrap().to_lines();
        lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
    }

    fn write(path: &Path, contents: &[u8]) {
        fs::write(path, contents).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn changed_keys_file_takes_effect_and_a_broken_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache-keys");
        let (first, second) = (text(), text());
        write(&path, &first);
        let file = Arc::new(KeyFile::load(&path).unwrap());
        let (ring, in_effect) = (file.ring(), FilesInEffect::default());
        let _following = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&file).follow_file(None, in_effect.clone())));
        let checks = || tokio::time::sleep(Duration::from_secs(11));
        checks().await;
        assert!(opens(&ring, &first) && in_effect.are_all());
        for broken in [&b"names x\n"[..], b""] {
            write(&path, broken);
            checks().await;
            assert!(opens(&ring, &first) && !in_effect.are_all(), "the old keys stay in effect");
        }
        write(&path, &second);
        checks().await;
        assert!(opens(&ring, &second) && !opens(&ring, &first) && in_effect.are_all());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        checks().await;
        assert!(opens(&ring, &second) && !in_effect.are_all(), "others could have written it");
    }

    #[test]
    fn keys_file_is_loaded_or_refused_with_its_mistake() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache-keys");
        assert_eq!(
            KeyFile::load(&path).unwrap_err(),
            KeyFileError::Keys(KeysFileError::Untrusted(TrustedFileError::Missing))
        );
        write(&path, b"nonsense");
        assert_eq!(KeyFile::load(&path).unwrap_err(), KeyFileError::Keys(KeysFileError::UnknownLine { line: 1 }));
    }
}
