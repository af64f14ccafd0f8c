//! The lock that keeps a second sync from the same file.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::json_file::{self, Target};

/// Suffix of the locked file.
const LOCK: &str = "sync.lock";

/// An exclusive lock beside a credential file, until it is dropped. If the file is a link, both are at its target.
pub(super) struct FileLock {
    file: File,
    target: Target,
}

impl FileLock {
    /// Creates the directory of the file if it is missing.
    pub(super) fn acquire(path: &Path) -> Result<Self, String> {
        let problem = |error: std::io::Error| json_file::write_problem(path, &error);
        let target = Target::of(path)?.opened()?;
        let file = target.companion(LOCK).open_lock()?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, target }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "{}: another sync updates this file; name all registries in one sync, or use a file for each",
                path.display()
            )),
            Err(TryLockError::Error(error)) => Err(problem(error)),
        }
    }

    /// Returns the credential file itself.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Checks the owner of the file, and acquires the lock again if its file was deleted, as with the whole directory, or if the link
    /// leads to another target.
    pub(super) fn ensure_held(&mut self, path: &Path) -> Result<(), String> {
        let on_disk = Target::of(path)?.companion(LOCK).inode();
        if on_disk.is_none() || on_disk != self.file.metadata().map(|metadata| metadata.ino()).ok() {
            *self = Self::acquire(path)?;
        }
        Ok(())
    }
}
