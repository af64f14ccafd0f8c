//! The file of a secret, with checks of who may read and write it.

use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::trusted_file::{self, TrustedFile, TrustedFileError};

/// Bytes read of a file. A longer file is not a secret.
const MAX_READ: usize = 1024;
/// The permission to read of users that are neither the owner nor in the group.
const WORLD_READABLE: u32 = 0o004;

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
        let TrustedFile { file, metadata } = match trusted_file::open(path) {
            Err(TrustedFileError::Missing) => return Ok(None),
            opened => opened.map_err(|error| error.to_string())?,
        };
        check_secrecy(&metadata)?;
        // With room for all: a vector that grows leaves copies of the secret behind.
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_READ));
        file.take(MAX_READ as u64).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() == MAX_READ {
            return Err(format!("holds no secret: it has {MAX_READ} bytes or more; name another file"));
        }
        Ok(Some(Self { text, owner: metadata.uid() }))
    }
}

fn check_secrecy(metadata: &Metadata) -> Result<(), String> {
    let problem = if !metadata.is_file() {
        "is not a regular file"
    } else if metadata.permissions().mode() & WORLD_READABLE != 0 {
        "is world-readable, so it holds no secret; run chmod o-r (Kubernetes: defaultMode: 0440 and fsGroup)"
    } else {
        return Ok(());
    };
    Err(problem.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {error}")
}
