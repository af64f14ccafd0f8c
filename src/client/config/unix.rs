//! Directories of the XDG specification, and the files of the system.

use std::path::{Path, PathBuf};

use crate::address::default_sockets;
use crate::environment;

/// `client.toml` of the system; the user's file takes precedence.
pub(super) const SYSTEM_FILE: Option<&str> = Some("/etc/ecr-broker/client.toml");

pub(super) fn runtime_dir() -> Option<PathBuf> {
    environment::path("XDG_RUNTIME_DIR")
}

pub(super) fn config_home() -> Option<PathBuf> {
    environment::path("XDG_CONFIG_HOME")
}

pub(super) fn home() -> Option<PathBuf> {
    environment::path(environment::HOME)
}

/// Returns the default sockets of a broker.
pub(super) fn sockets(runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    default_sockets(runtime_dir)
}
