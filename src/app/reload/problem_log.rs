//! Log lines about the files' problems: each when it appears, and all once a minute.

use tracing::error;

use super::independent::{Effect, Problem};

/// Checks between two log lines about the same problem, about a minute.
const REMINDER: u32 = 12;

/// The problems that were found last.
#[derive(Debug, Default)]
pub(super) struct ProblemLog {
    problems: Vec<Problem>,
    /// The checks until they are logged again.
    checks: u32,
}

impl ProblemLog {
    /// Counts a check. Returns whether the problems are due again.
    pub(super) fn is_due(&mut self) -> bool {
        let is_last = self.checks == 1;
        self.checks = self.checks.saturating_sub(1);
        is_last
    }

    /// Returns whether other problems were found than last time.
    pub(super) fn would_change(&self, problems: &[Problem]) -> bool {
        self.problems != problems
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Logs the new problems, or all. A new one does not postpone the others.
    pub(super) fn update(&mut self, problems: Vec<Problem>, all: bool) {
        problems.iter().filter(|problem| all || !self.problems.contains(problem)).for_each(log);
        self.problems = problems;
        if self.problems.is_empty() {
            self.checks = 0;
        } else if all || self.checks == 0 {
            self.checks = REMINDER;
        }
    }
}

fn log(Problem { effect, file, diagnostic: problem }: &Problem) {
    match effect {
        Effect::FileKept => {
            error!(file, %problem, "configuration not reloaded; the file's last valid contents stay active");
        }
        Effect::NewFileLeftOut => error!(file, %problem, "new file left out"),
        Effect::GrantLeftOut => {
            error!(file, %problem, "grant left out; a denial stays active within its file's limits");
        }
        Effect::SettingLeftOut => error!(file, %problem, "setting left out; its default applies, or none"),
        Effect::FolderNotRead => {
            error!(pattern = file, %problem, "included folder not read; its files stay active");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Diagnostic;

    fn problem(file: &str) -> Problem {
        let diagnostic = Diagnostic { place: file.to_owned(), problem: "line 1".to_owned() };
        Problem { effect: Effect::FileKept, file: file.to_owned(), diagnostic }
    }

    #[test]
    fn problem_is_due_once_a_minute_and_nothing_without_one() {
        let mut log = ProblemLog::default();
        assert_eq!((1..=30).filter(|_| log.is_due()).count(), 0);
        log.update(vec![problem("a")], false);
        assert_eq!((1..=30).find(|_| log.is_due()), Some(12), "12 checks of 5 s");
        log.update(vec![problem("a")], true);
        assert_eq!((1..=6).filter(|_| log.is_due()).count(), 0);
        log.update(vec![problem("a"), problem("b")], false);
        assert_eq!((1..=30).find(|_| log.is_due()), Some(6), "a new problem does not postpone the others");
        log.update(Vec::new(), false);
        assert_eq!((1..=30).filter(|_| log.is_due()).count(), 0);
    }
}
