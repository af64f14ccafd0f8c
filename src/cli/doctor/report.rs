//! What was found, a line a step, with what to do below it.

use std::process::ExitCode;

use crate::terminal::print_line;

const WITH_REGISTRY: &[&str] = &["settings", "address", "health", "caller", "grant", "AWS", "token", "/v2/"];
const WITHOUT: &[&str] = &["settings", "address", "health", "caller", "registries"];
/// The step that is about this machine's other programs, and waits for no other.
const TOOLS: &str = "tools";

/// What a step gives to the next, with what was found.
pub(super) type Outcome<T> = (Finding, Option<T>);

/// What one step has found.
#[derive(Debug)]
pub(super) struct Finding {
    state: State,
    found: String,
    below: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Good,
    Broken(ExitCode),
    Skipped,
}

/// Tells the findings as they come.
#[derive(Debug)]
pub(super) struct Report {
    steps: std::slice::Iter<'static, &'static str>,
    code: ExitCode,
    /// The step that is broken.
    broken: Option<&'static str>,
}

impl Finding {
    pub(super) fn good(found: impl Into<String>) -> Self {
        Self { state: State::Good, found: found.into(), below: Vec::new() }
    }

    /// `code`: how the program ends for it.
    pub(super) fn broken(code: impl Into<ExitCode>, found: impl Into<String>) -> Self {
        Self { state: State::Broken(code.into()), ..Self::good(found) }
    }

    pub(super) fn skipped(found: impl Into<String>) -> Self {
        Self { state: State::Skipped, ..Self::good(found) }
    }

    /// More of what was found.
    pub(super) fn noting(mut self, note: impl AsRef<str>) -> Self {
        self.below.push(format!("      {}", one_line(note.as_ref())));
        self
    }

    /// What to do; lines after the first are for whoever copies them.
    pub(super) fn fix(mut self, fix: impl AsRef<str>) -> Self {
        let mut lines = fix.as_ref().lines().map(one_line);
        self.below.push(format!("      fix: {}", lines.next().unwrap_or_default()));
        self.below.extend(lines.map(|line| format!("           {line}")));
        self
    }

    fn text(&self, step: &str) -> String {
        let state = match self.state {
            State::Good => "ok",
            State::Broken(_) => "FAIL",
            State::Skipped => "skip",
        };
        let head = format!("{state:<4}  {step:<10}  {}", one_line(&self.found));
        std::iter::once(head).chain(self.below.iter().cloned()).collect::<Vec<_>>().join("\n")
    }
}

impl Report {
    pub(super) fn new(with_registry: bool) -> Self {
        let steps = if with_registry { WITH_REGISTRY } else { WITHOUT };
        Self { steps: steps.iter(), code: ExitCode::SUCCESS, broken: None }
    }

    /// Tells what the next step has found, and passes on what it gives. The first break decides how the program ends.
    pub(super) fn settle<T>(&mut self, (finding, given): Outcome<T>) -> anyhow::Result<Option<T>> {
        let step = self.steps.next().copied().unwrap_or(TOOLS);
        if let State::Broken(code) = finding.state
            && self.broken.is_none()
        {
            (self.code, self.broken) = (code, Some(step));
        }
        print_line(finding.text(step))?;
        Ok(given)
    }

    /// Tells of the steps that the break has kept from being made.
    pub(super) fn skip_the_rest(&mut self) -> anyhow::Result<()> {
        let why = self.broken.map_or_else(|| "not asked".to_owned(), |step| format!("not asked: see {step}"));
        self.steps.by_ref().try_for_each(|step| print_line(Finding::skipped(&why).text(step)))
    }

    pub(super) fn code(&self) -> ExitCode {
        self.code
    }
}

fn one_line(text: &str) -> String {
    text.replace(|letter: char| letter.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_line_and_what_to_do_stands_below_it() {
        let finding = Finding::broken(4, "no\nway").noting("more").fix("write this:\n[[grants]]");
        assert_eq!(
            finding.text("grant"),
            "FAIL  grant       no way\n      more\n      fix: write this:\n           [[grants]]"
        );
        assert_eq!(Finding::good("x").text("/v2/"), "ok    /v2/        x");
    }

    #[test]
    fn nobody_s_text_moves_the_terminal() {
        let text = "a\u{1b}[2J\rb\u{9b}1m\nc\u{7}";
        let told = Finding::good(text).noting(text).fix(text).text("caller");
        assert!(!told.replace('\n', "").contains(char::is_control), "{told:?}");
        assert!(told.ends_with("      fix: a [2J b 1m\n           c "), "{told:?}");
    }

    #[test]
    fn the_first_break_decides_how_the_program_ends() {
        let mut report = Report::new(true);
        assert_eq!(report.settle((Finding::good("a"), Some(1))).unwrap(), Some(1));
        report.settle::<()>((Finding::broken(5, "b"), None)).unwrap();
        report.settle::<()>((Finding::broken(4, "c"), None)).unwrap();
        assert_eq!((report.code(), report.broken), (ExitCode::from(5), Some("address")));
    }
}
