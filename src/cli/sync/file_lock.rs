//! The lock that keeps a second sync from the same file.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::file_owner::check_owner;
use crate::json_file::{self, sibling};

/// Suffix of the locked file.
const LOCK: &str = "sync.lock";

/// An exclusive lock beside a credential file, until it is dropped.
pub(super) struct FileLock(File);

impl FileLock {
    /// Creates the directory of the file if it is missing.
    pub(super) fn acquire(path: &Path) -> Result<Self, String> {
        let problem = |error: std::io::Error| format!("{}: {error}", path.display());
        json_file::require_regular_file(path)?;
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(problem)?;
        check_owner(path)?;
        let lock = File::options().create(true).append(true).mode(0o600).open(sibling(path, LOCK)).map_err(problem)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self(lock)),
            Err(TryLockError::WouldBlock) => Err(format!(
                "{}: another sync updates this file; name all registries in one sync, or use a file for each",
                path.display()
            )),
            Err(TryLockError::Error(error)) => Err(problem(error)),
        }
    }

    /// Acquires the lock again if its file was deleted, as with the whole directory.
    pub(super) fn ensure_held(&mut self, path: &Path) -> Result<(), String> {
        let inode = |metadata: std::io::Result<fs::Metadata>| metadata.map(|metadata| metadata.ino()).ok();
        let on_disk = inode(fs::metadata(sibling(path, LOCK)));
        if on_disk.is_none() || on_disk != inode(self.0.metadata()) {
            *self = Self::acquire(path)?;
        }
        Ok(())
    }
}
