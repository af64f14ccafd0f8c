//! The owner of a credential file: another user could read what sync writes to theirs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Rejects the file of another user, and a link in a world-writable directory. Root may write for the directory's owner.
pub(super) fn check_owner(path: &Path) -> Result<(), String> {
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(()) };
    let own = rustix::process::geteuid().as_raw();
    let directory = path.parent().and_then(|directory| fs::metadata(directory).ok());
    let is_shared = directory.as_ref().is_some_and(|directory| directory.mode() & 0o002 != 0);
    let for_its_user = own == 0 && directory.is_some_and(|directory| directory.uid() == file.uid()) && !is_shared;
    if file.uid() != own && !for_its_user {
        return Err(format!(
            "{}: the file belongs to user {}, who could read the credentials; remove it",
            path.display(),
            file.uid()
        ));
    }
    if file.is_symlink() && is_shared {
        return Err(format!(
            "{}: the file is a link in a world-writable directory, where any user can redirect it; remove it",
            path.display()
        ));
    }
    Ok(())
}
