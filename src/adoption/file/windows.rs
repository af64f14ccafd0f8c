//! State directory of a Windows user.

use std::path::PathBuf;

use crate::environment;

/// Returns the directory of files that stay on this host.
pub(super) fn state_directory() -> Option<PathBuf> {
    environment::path("LOCALAPPDATA").filter(|path| path.is_absolute())
}
