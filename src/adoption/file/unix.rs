//! State directory of the XDG specification.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::process::geteuid;

use crate::environment;

/// Returns the user's state directory, unless it is another user's.
pub(super) fn state_directory() -> Option<PathBuf> {
    let root = || geteuid().is_root().then(|| PathBuf::from("/root"));
    let of_home = || Some(environment::path(environment::HOME).or_else(root)?.join(".local/state"));
    let base = environment::path("XDG_STATE_HOME").filter(|path| path.is_absolute()).or_else(of_home)?;
    let existing = base.ancestors().find_map(|directory| fs::metadata(directory).ok())?;
    let is_own = existing.uid() == geteuid().as_raw() || !geteuid().is_root();
    is_own.then_some(base)
}
