//! The lock that keeps a second sync from the same file.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::file_owner::check_owner;
use crate::json_file::{self, sibling};

/// Suffix of the locked file.
const LOCK: &str = "sync.lock";

/// An exclusive lock beside a credential file, until it is dropped. If the file is a link, both are at its target.
pub(super) struct FileLock {
    file: File,
    target: PathBuf,
}

impl FileLock {
    /// Creates the directory of the file if it is missing.
    pub(super) fn acquire(path: &Path) -> Result<Self, String> {
        let problem = |error: std::io::Error| json_file::write_problem(path, &error);
        let target = checked_target(path)?;
        json_file::require_regular_file(&target)?;
        let directory = target.parent().unwrap_or_else(|| Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(problem)?;
        let lock = sibling(&target, LOCK);
        let file = File::options().create(true).append(true).mode(0o600).open(lock).map_err(problem)?;
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
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Checks the owner of the file, and acquires the lock again if its file was deleted, as with the whole directory, or if the link
    /// leads to another target.
    pub(super) fn ensure_held(&mut self, path: &Path) -> Result<(), String> {
        let inode = |metadata: std::io::Result<fs::Metadata>| metadata.map(|metadata| metadata.ino()).ok();
        let on_disk = inode(fs::metadata(sibling(&checked_target(path)?, LOCK)));
        if on_disk.is_none() || on_disk != inode(self.file.metadata()) {
            *self = Self::acquire(path)?;
        }
        Ok(())
    }
}

/// Returns the file that a path leads to, unless another user owns or can redirect a step of the way.
fn checked_target(path: &Path) -> Result<PathBuf, String> {
    json_file::link_chain(path)?.iter().try_for_each(|step| check_owner(step))?;
    json_file::link_target(path)
}
