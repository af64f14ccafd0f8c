//! The file of a secret, with checks of who may read and write it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::trusted_file;

/// Bytes read of a file. A longer file is not a secret.
const MAX_READ: usize = 1024;

/// Content and owner of a file.
pub(super) struct SecretFile {
    pub(super) text: Zeroizing<Vec<u8>>,
    /// The user ID of the file's owner.
    pub(super) owner: u32,
}

impl SecretFile {
    /// Reads a file; `None` if there is none.
    ///
    /// The file is opened once, and the checks are made on the open file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, String> {
        let Some(path) = resolve(path)? else { return Ok(None) };
        let file = open(&path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        check_mode(&metadata)?;
        // With room for all: a vector that grows leaves copies of the secret behind.
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_READ));
        file.take(MAX_READ as u64).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() == MAX_READ {
            return Err(format!("holds no secret: it has {MAX_READ} bytes or more; name another file"));
        }
        Ok(Some(Self { text, owner: metadata.uid() }))
    }
}

/// Returns the file that a path leads to; `None` if there is none. A file in a world-writable directory is not looked at, because
/// any user could have put it there.
fn resolve(path: &Path) -> Result<Option<PathBuf>, String> {
    let open_directory =
        || Err("is in a world-writable directory; give it a directory of the broker's own user".to_owned());
    let link = fs::symlink_metadata(path).ok().filter(Metadata::is_symlink);
    if is_in_open_directory(path) && !link.as_ref().is_some_and(|link| is_protected(link, path)) {
        return open_directory();
    }
    match fs::canonicalize(path) {
        Ok(target) if is_in_open_directory(&target) => open_directory(),
        Ok(target) => Ok(Some(target)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unreadable(error)),
        Err(_) if link.is_some() => Err("is a link to a missing file; create that file, or remove the link".to_owned()),
        Err(_) => Ok(None),
    }
}

fn is_in_open_directory(path: &Path) -> bool {
    path.parent().is_some_and(trusted_file::is_open_to_all)
}

/// Returns whether the sticky bit of its directory protects a link from other users.
///
/// The directory of a Secret that kubelet mounts is world-writable with the sticky bit, like /tmp.
fn is_protected(link: &Metadata, path: &Path) -> bool {
    let directory = path.parent().and_then(|directory| fs::metadata(directory).ok());
    directory.is_some_and(|directory| {
        directory.permissions().mode() & 0o1000 != 0 && [0, directory.uid()].contains(&link.uid())
    })
}

/// Opens a file without waiting: opening a pipe would wait for its other end.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn check_mode(metadata: &Metadata) -> Result<(), String> {
    let problem = if !metadata.is_file() {
        "is not a regular file"
    } else if metadata.permissions().mode() & 0o004 != 0 {
        "is world-readable, so it holds no secret; run chmod o-r"
    } else if trusted_file::is_world_writable(metadata) {
        "is world-writable, so any user could choose the secret; run chmod o-w"
    } else {
        return Ok(());
    };
    Err(problem.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {error}")
}
