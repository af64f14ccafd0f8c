//! The reasons why a file is not used.

use std::io;
use std::path::PathBuf;

/// The reason why a file is not used. The text continues the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustedFileError {
    /// Neither the file nor a link to it exists.
    #[error("cannot be read: no such file; create it or correct its path")]
    Missing,
    /// A link leads nowhere.
    #[error("is a link to a missing file; create that file, or remove the link")]
    Dangling,
    /// The broker's user has no permission.
    #[error(
        "cannot be read: permission denied; grant the broker read access (Kubernetes: defaultMode: 0440 and fsGroup)"
    )]
    Forbidden,
    /// The system does not open or read it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is a directory, a pipe, a socket or a device.
    #[error("is not a regular file")]
    NotRegular,
    /// Every user can write it.
    #[error("is world-writable, so any user can change it; run chmod o-w (Kubernetes: defaultMode: 0440)")]
    WorldWritable,
    /// Every user can replace it, or a link on the way to it.
    #[error(
        "is in the world-writable directory {}; chmod o-w it, or mount it read-only (Kubernetes: defaultMode: 0440, fsGroup)",
        directory.display()
    )]
    InWorldWritableDirectory {
        /// The directory of the file or of the link.
        directory: PathBuf,
    },
    /// Its directory is world-writable with the sticky bit, and another user owns it or a link on the way to it.
    #[error(
        "is replaceable by its owner, user {owner}, in {}; chown it to root or the broker's user, or move it",
        directory.display()
    )]
    OfOtherUser {
        /// The directory of the file or of the link.
        directory: PathBuf,
        /// The user ID of the owner.
        owner: u32,
    },
}

impl From<io::Error> for TrustedFileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}
