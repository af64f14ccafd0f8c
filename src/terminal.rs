//! Lines on stdout and stderr.

use std::fmt::Display;
#[cfg(feature = "client")]
use std::io::IsTerminal as _;
use std::io::{ErrorKind, Write as _, stdout};

use anyhow::Context as _;
#[cfg(feature = "client")]
use clap::builder::styling::{AnsiColor, Style};

#[cfg(any(feature = "server", feature = "client"))]
use crate::environment;
use crate::quoted::Visible;

/// Output format of a command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text for people
    #[default]
    Text,
    /// JSON for scripts, an object per line
    Json,
}

/// Colours of words in reports.
#[cfg(feature = "client")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colours(bool);

#[cfg(feature = "client")]
impl Colours {
    /// No colours, as for a file.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self(false);

    /// Colours if stdout is a terminal that shows them, and `NO_COLOR` does not forbid them.
    pub(crate) fn of_stdout() -> Self {
        Self(stdout().is_terminal() && environment::allows_colours())
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint(text, AnsiColor::Green.on_default())
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint(text, AnsiColor::Red.on_default().bold())
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.paint(text, Style::new().dimmed())
    }

    fn paint(self, text: &str, style: Style) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// Prints one line on stderr, after the name of the program. Parts of it may come from a broker or a file, so it is escaped.
#[expect(clippy::print_stderr, reason = "the command line's own errors, not logs")]
pub(crate) fn print_error(problem: impl Display) {
    eprintln!("ecr-broker: {}", Visible(&problem.to_string().replace('\n', " ")));
}

/// Prints text and a line end on stderr, for a person at a terminal.
#[expect(clippy::print_stderr, reason = "for a person, not a log")]
#[cfg(all(feature = "server", feature = "simulator"))]
pub(crate) fn print_note(line: impl Display) {
    eprintln!("{line}");
}

/// Returns whether stdout is systemd's journal, which has the log's lines, too.
#[cfg(feature = "server")]
pub(crate) fn stdout_is_journal() -> bool {
    let Some(stream) = environment::variable("JOURNAL_STREAM") else { return false };
    let stdout = rustix::fs::fstat(stdout());
    stdout.is_ok_and(|stdout| stream.to_str() == Some(&format!("{}:{}", stdout.st_dev, stdout.st_ino)))
}

/// Prints text and a line end on stdout. A closed reader is not an error, a full disk is.
pub(crate) fn print_line(line: impl Display) -> anyhow::Result<()> {
    try_print_line(line).map(drop)
}

/// Prints text and a line end on stdout; returns false if the reader has closed it.
pub(crate) fn try_print_line(line: impl Display) -> anyhow::Result<bool> {
    let mut stdout = stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to stdout"),
    }
}
