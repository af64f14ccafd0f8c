//! The place that sync keeps equal to its entries.

use std::fmt::Display;
use std::time::Duration;

use super::auth_entries::AuthEntries;
use crate::exit_code::Exit;
use crate::moment::Moment;
use crate::time_text::short;

/// The most time between two updates: the clock may be set, and the target may be changed or deleted.
pub(super) const INTERVAL: Duration = Duration::from_secs(30);

/// A target of sync.
pub(super) trait Target {
    /// Writes the entries where they differ. Dropping the future leaves a target that the next update completes.
    async fn update(&mut self, entries: &AuthEntries, now: Moment) -> Update;

    /// Returns the time until an update has something to do, even if the entries are the same.
    fn pause(&self, _now: Moment) -> Duration {
        INTERVAL
    }

    /// Returns the target's name in messages.
    fn name(&self) -> String;
}

/// The result of an update.
#[derive(Debug, Default)]
pub(super) struct Update {
    /// A line for each change.
    pub(super) changes: Vec<String>,
    /// Events for stderr.
    pub(super) notes: Vec<String>,
    /// All problems that the target has, also those of earlier updates.
    pub(super) problems: Vec<Problem>,
}

/// A part of the target that differs from the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The part. A problem of the same part with the same text is the same problem.
    pub(super) subject: String,
    /// The part, the cause and the fix.
    pub(super) text: String,
    /// The exit code with `--once`.
    pub(super) exit: Exit,
}

/// Returns the line about a change: what the target, or this part of it, has now.
pub(super) fn summary(name: impl Display, count: usize, left: Option<Duration>) -> String {
    let plural = if count == 1 { "y" } else { "ies" };
    match left {
        Some(left) => format!("{name}: {count} registr{plural}, valid for {}", short(left)),
        None => format!("{name}: no registry is left"),
    }
}
