//! The command that runs after a change of the file: one run at a time, and one for all changes during a run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Context as _, ensure};

use crate::terminal::print_error;

/// A thread that runs the command.
pub(super) struct Hook(SyncSender<()>);

impl Hook {
    pub(super) fn start(command: String, file: PathBuf) -> std::io::Result<Self> {
        let (sender, triggers) = sync_channel(1);
        std::thread::Builder::new().name("on-change".to_owned()).spawn(move || {
            while triggers.recv().is_ok() {
                if let Err(problem) = run(&command, &file) {
                    print_error(format_args!("{problem:#}"));
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Runs the command now, or once more after the current run.
    pub(super) fn trigger(&self) {
        // A full channel means that another run is already due.
        let _ = self.0.try_send(());
    }
}

/// Runs the command to its end. Its output goes to stderr: stdout belongs to sync.
pub(super) fn run(command: &str, file: &Path) -> anyhow::Result<()> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).env("ECR_SYNC_FILE", file).stdin(Stdio::null()).stdout(std::io::stderr());
    let status = shell.status().context("--on-change: sh cannot be run")?;
    ensure!(status.success(), "--on-change: the command failed with {status}");
    Ok(())
}
