//! The temporary directory of one command: docker's configuration, and a link to the helper.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::geteuid;
use serde_json::{Map, Value};

use super::docker_config::CONFIG;
use crate::environment;
use crate::terminal::print_error;

/// Mode of the directories: only this user may enter.
const PRIVATE: u32 = 0o700;
/// Mode bits: group or others may create and remove entries; entries belong to their owners.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
const NO_RUNTIME: &str = "--static needs a directory in memory; set XDG_RUNTIME_DIR to one that only you can write";
const NO_TEMPORARY: &str = "no directory for temporary files; set TMPDIR to one that only you can write";
/// Directories of temporary files without `$TMPDIR`. In pods, `/tmp` is often an `emptyDir` volume, in which every user can replace
/// what others have made; `/dev/shm` is not.
const TEMPORARY: [&str; 2] = ["/tmp", "/dev/shm"];

/// A private directory that is removed on drop.
#[derive(Debug)]
pub(super) struct Workspace(PathBuf);

impl Workspace {
    /// Creates the directory in `$XDG_RUNTIME_DIR`, which is in memory. Only a workspace without secrets may be elsewhere.
    pub(super) fn create(for_secrets: bool) -> anyhow::Result<Self> {
        let elsewhere = || environment::path("TMPDIR").into_iter().chain(TEMPORARY.map(PathBuf::from));
        let mut parents = environment::path("XDG_RUNTIME_DIR").into_iter().chain(elsewhere().filter(|_| !for_secrets));
        let parent =
            parents.find(|parent| is_safe(parent)).context(if for_secrets { NO_RUNTIME } else { NO_TEMPORARY })?;
        let name: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
        let path = std::path::absolute(parent.join(format!("ecr-broker-exec-{name}")))?;
        // Fails if the name exists: another user's directory is never used.
        create_private(&path)?;
        let workspace = Self(path);
        create_private(&workspace.docker_directory())?;
        Ok(workspace)
    }

    /// Returns the value of `DOCKER_CONFIG`.
    pub(super) fn docker_directory(&self) -> PathBuf {
        self.0.join("docker")
    }

    /// Links contexts, plugins and everything else of docker's directory except its configuration file.
    pub(super) fn link_other_files(&self, source: Option<&Path>) -> anyhow::Result<()> {
        let Some(source) = source else { return Ok(()) };
        let problem = || format!("cannot read {}", source.display());
        let entries = match fs::read_dir(source) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            entries => entries.with_context(problem)?,
        };
        for entry in entries {
            let entry = entry.with_context(problem)?;
            if entry.file_name() != CONFIG {
                let link = self.docker_directory().join(entry.file_name());
                symlink(entry.path(), &link).with_context(|| format!("cannot create {}", link.display()))?;
            }
        }
        Ok(())
    }

    /// Writes docker's configuration file.
    pub(super) fn write_config(&self, config: &Map<String, Value>) -> anyhow::Result<()> {
        let path = self.docker_directory().join(CONFIG);
        let text = serde_json::to_string_pretty(config)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Links this program under the name that docker runs, and returns the directory of the link.
    pub(super) fn link_helper(&self, name: &str) -> anyhow::Result<PathBuf> {
        let directory = self.0.join("bin");
        create_private(&directory)?;
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let link = directory.join(format!("docker-credential-{name}"));
        symlink(program, &link).with_context(|| format!("cannot create {}", link.display()))?;
        Ok(directory)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            print_error(format_args!("cannot remove {}: {error}; remove it", self.0.display()));
        }
    }
}

/// Returns whether no other user can replace a directory in this one. `sudo` may keep the variables of another user.
fn is_safe(parent: &Path) -> bool {
    let Ok(metadata) = fs::metadata(parent) else { return false };
    let is_owned = [0, geteuid().as_raw()].contains(&metadata.uid());
    metadata.is_dir() && is_owned && (metadata.mode() & OTHERS_WRITE == 0 || metadata.mode() & STICKY != 0)
}

fn create_private(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new().mode(PRIVATE).create(path).with_context(|| format!("cannot create {}", path.display()))
}
