//! The lock that keeps a second sync from the same file.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use crate::json_file::{self, Target, sibling};

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
        let target = Target::of(path)?;
        json_file::require_regular_file(target.path())?;
        let directory = target.path().parent().unwrap_or_else(|| Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(problem)?;
        let file = json_file::open_lock(&sibling(target.path(), LOCK)).map_err(problem)?;
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
        let inode = |metadata: std::io::Result<fs::Metadata>| metadata.map(|metadata| metadata.ino()).ok();
        let on_disk = inode(fs::symlink_metadata(sibling(Target::of(path)?.path(), LOCK)));
        if on_disk.is_none() || on_disk != inode(self.file.metadata()) {
            *self = Self::acquire(path)?;
        }
        Ok(())
    }
}
