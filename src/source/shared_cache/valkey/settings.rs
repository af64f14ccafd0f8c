//! Settings of the connections to the shared cache.

use std::path::PathBuf;
use std::time::Duration;

use super::target::Target;

/// Settings of the connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The servers.
    pub target: Target,
    /// First part of each key's name.
    pub prefix: String,
    /// The ACL user; `None`: the server's default user.
    pub username: Option<String>,
    /// The file with the password, read again for each connection.
    pub password_file: Option<PathBuf>,
    /// The files of TLS, read again for each connection.
    pub tls: TlsFiles,
    /// Time limit of one operation.
    pub timeout: Duration,
}

/// The files of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates to trust; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The broker's certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}
