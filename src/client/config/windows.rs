//! Directories of a Windows user.

use std::path::{Path, PathBuf};

use crate::environment;

/// None: every user may create a directory in `%PROGRAMDATA%`, and so could choose the broker of other users.
pub(super) const SYSTEM_FILE: Option<&str> = None;

pub(super) fn runtime_dir() -> Option<PathBuf> {
    None
}

pub(super) fn config_home() -> Option<PathBuf> {
    environment::path("APPDATA")
}

pub(super) fn home() -> Option<PathBuf> {
    environment::path(environment::HOME)
}

/// Returns none: clients reach a broker over TCP.
pub(super) fn sockets(_runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    Vec::new()
}
