//! Another user of the host, who tries to swap files and sockets. Only root can be another user.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::program::{Ended, copy_to, skipped};

/// The user without rights.
pub const THIEF: u32 = 4_242;

/// A directory that every user can enter, with the program in it.
pub struct Host(pub tempfile::TempDir);

impl Host {
    /// Returns `None` if the test does not run as root.
    pub fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o755);
        copy_to(directory.path().join("ecr-broker"));
        fs::create_dir(directory.path().join("etc")).unwrap();
        set_mode(&directory.path().join("etc"), 0o755);
        let probe = directory.path().join("probe");
        fs::write(&probe, "").unwrap();
        if chown(&probe, Some(THIEF), None).is_err() {
            skipped("only root can give files to another user");
            return None;
        }
        Some(Self(directory))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Replaces a file by another with the thief's words.
    pub fn swap(&self, file: &str, text: &str) -> Ended {
        let script = "printf %s \"$2\" >\"$1.new\" && mv -f \"$1.new\" \"$1\"";
        run("sh", &["-c", script, "sh", &self.text(file), text])
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Returns a command of the thief.
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).uid(THIEF).gid(THIEF).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    command
}

/// Runs a command as the thief.
pub fn run(program: &str, arguments: &[&str]) -> Ended {
    let output = command(program, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
