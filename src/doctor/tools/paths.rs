//! The environment of docker and podman: their files, and the search for helper programs.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The broker's credential helper.
pub(crate) const HELPER_PROGRAM: &str = "docker-credential-ecr-broker";

/// The environment of docker and podman.
#[derive(Debug, Clone, Default)]
pub struct ToolPaths {
    /// `$DOCKER_CONFIG`, docker's directory.
    pub docker_config: Option<PathBuf>,
    /// `$REGISTRY_AUTH_FILE`, podman's file.
    pub auth_file: Option<PathBuf>,
    /// `$PATH`, which they search for helpers.
    pub path: Option<OsString>,
}

impl ToolPaths {
    /// Returns the program that this user would run under a name.
    #[must_use]
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        let mut programs = self.path.iter().flat_map(std::env::split_paths).map(|directory| directory.join(program));
        programs.find(|program| {
            let metadata = fs::metadata(program);
            metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        })
    }

    /// Returns whether a program is the broker's helper under any name: the same file, or a copy of it.
    pub(super) fn is_broker_helper(&self, program: &Path) -> bool {
        let this = std::env::current_exe().ok();
        let beside = this.as_ref().map(|this| this.with_file_name(HELPER_PROGRAM));
        let known = [this, beside, self.find(HELPER_PROGRAM)];
        let known = known.into_iter().flatten().filter_map(|known| fs::metadata(known).ok());
        fs::metadata(program).is_ok_and(|program| known.into_iter().any(|known| is_same_or_copy(&known, &program)))
    }
}

fn is_same_or_copy(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino()) || one.len() == other.len()
}
