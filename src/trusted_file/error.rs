//! The reasons why a file is not used.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

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
    /// It has too many bytes.
    #[error("is longer than {} MiB; split it, or correct its path", limit >> 20)]
    TooLong {
        /// The longest file in bytes.
        limit: u64,
    },
    /// It is not a text.
    #[error("is not UTF-8 text; save it as UTF-8")]
    NotUtf8,
    /// Every user can read it, although it holds a secret.
    #[error(
        "is world-readable, so it holds no secret; run chmod o-r (Kubernetes: defaultMode: 0440, fsGroup; Swarm: mode, uid)"
    )]
    WorldReadable,
    /// Every user can write it.
    #[error("is world-writable, so any user can change it; run chmod o-w (Kubernetes: defaultMode: 0440)")]
    WorldWritable,
    /// Other users of a group can write it.
    #[error("is writable by group {group}, in which other users can be; run chmod g-w (Kubernetes: defaultMode: 0440)")]
    GroupWritable {
        /// The group ID.
        group: u32,
    },
    /// Users that its access control list names may be able to write it.
    #[error("has an access control list that may let other users write it; run setfacl -b, or chmod g-w")]
    WritableByAccessList,
    /// Another user owns it.
    #[error("belongs to user {owner}, who can change it; chown it to root or to the broker's user")]
    OfOtherUser {
        /// The user ID of the owner.
        owner: u32,
    },
    /// Every user can replace it, or a directory or link on the way to it.
    #[error(
        "is in the world-writable directory {}; chmod o-w it (Kubernetes: use a ConfigMap, Secret or projected volume)",
        directory.display()
    )]
    InWorldWritableDirectory {
        /// The directory on the way.
        directory: PathBuf,
    },
    /// Other users of a group can replace it, or a directory or link on the way to it.
    #[error(
        "is in {}, which group {group} can write, and other users can be in it; chmod g-w the directory",
        directory.display()
    )]
    InGroupWritableDirectory {
        /// The directory on the way.
        directory: PathBuf,
        /// The group ID.
        group: u32,
    },
    /// Users that the access control list of a directory on the way names may be able to replace it.
    #[error(
        "is in {}, whose access control list may let other users write; setfacl -b it, or chmod g-w it",
        directory.display()
    )]
    InDirectoryWithAccessList {
        /// The directory on the way.
        directory: PathBuf,
    },
    /// Another user owns a directory on the way to it.
    #[error(
        "is in {}, which belongs to user {owner}; chown the directory to root or to the broker's user",
        directory.display()
    )]
    InDirectoryOfOtherUser {
        /// The directory on the way.
        directory: PathBuf,
        /// The user ID of the owner.
        owner: u32,
    },
    /// Others can write its directory, which has the sticky bit, and another user owns it or a step on the way to it.
    #[error(
        "is replaceable by its owner, user {owner}, in {}; chown it to root or the broker's user, or move it",
        directory.display()
    )]
    Replaceable {
        /// The directory of the step.
        directory: PathBuf,
        /// The user ID of the owner.
        owner: u32,
    },
}

impl TrustedFileError {
    /// Returns whether there is a file, and it must not be used.
    #[must_use]
    pub fn is_distrust(&self) -> bool {
        !matches!(self, Self::Missing | Self::Dangling | Self::Forbidden | Self::Unreadable(_))
    }

    /// Returns the text without its advice on Kubernetes volumes: that is for files which the broker only reads.
    #[must_use]
    pub fn of_written_file(&self) -> String {
        let text = self.to_string();
        text.rsplit_once(" (Kubernetes: ").map_or_else(|| text.clone(), |(text, _)| text.to_owned())
    }
}

impl From<Errno> for TrustedFileError {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
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
