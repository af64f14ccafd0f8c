//! A command that is run when the file has changed: one at a time, and once for all changes that come while it runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::terminal::print_error;
use anyhow::{Context as _, ensure};

/// Runs the command on a thread of its own.
pub(super) struct Hook(SyncSender<()>);

impl Hook {
    pub(super) fn start(command: String, file: PathBuf) -> std::io::Result<Self> {
        let (sender, calls) = sync_channel(1);
        std::thread::Builder::new().name("on-change".to_owned()).spawn(move || {
            while calls.recv().is_ok() {
                if let Err(problem) = run(&command, &file) {
                    print_error(format_args!("{problem:#}"));
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Has it run now, or once more after the run that is under way.
    pub(super) fn call(&self) {
        // Where there is no room, one run is yet to come.
        let _ = self.0.try_send(());
    }
}

/// Runs it to its end. What it says is for people: stdout is not its own.
pub(super) fn run(command: &str, file: &Path) -> anyhow::Result<()> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).env("ECR_SYNC_FILE", file).stdin(Stdio::null()).stdout(std::io::stderr());
    let status = shell.status().context("--on-change: sh cannot be run")?;
    ensure!(status.success(), "--on-change: the command ended with {status}");
    Ok(())
}
