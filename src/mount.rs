//! Mounts: facts about a directory that its mode does not show.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatVfsMountFlags, StatxAttributes, StatxFlags, fstatvfs, statx};

/// Returns whether this process sees an open file or directory on a mount that it cannot write.
///
/// kubelet mounts `ConfigMap`, Secret and projected volumes so. Another process may have the same volume mounted writable.
///
/// # Errors
/// The file system does not answer.
pub fn is_read_only(file: impl AsFd) -> io::Result<bool> {
    Ok(fstatvfs(file)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Returns whether a directory is the root of a mount, such as a volume of a pod.
///
/// Asks `statx`, because a bind mount of the same file system has its parent's device number. A kernel before Linux 5.8 does not
/// know the attribute; there such a bind mount is not recognised.
///
/// # Errors
/// The directory or its parent cannot be examined.
pub fn is_root(directory: &Path) -> io::Result<bool> {
    let found = statx(CWD, directory, AtFlags::empty(), StatxFlags::empty())?;
    if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev());
    Ok(device(directory)? != device(&directory.join(".."))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_root_and_plain_directory_differ() {
        let directory = tempfile::tempdir().unwrap();
        assert!(is_root("/proc".as_ref()).unwrap() && !is_root(directory.path()).unwrap());
        assert!(!is_read_only(std::fs::File::open(directory.path()).unwrap()).unwrap());
        assert!(is_root(&directory.path().join("missing")).is_err());
    }
}
