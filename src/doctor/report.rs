//! What was found, a line a step, with what to do below it.

use crate::exit_code::Exit;
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
    Ok,
    Fail(Exit),
    Skip,
}

/// Tells the findings as they come.
#[derive(Debug)]
pub(super) struct Report {
    steps: std::slice::Iter<'static, &'static str>,
    exit: Exit,
    /// The step that is broken.
    failed: Option<&'static str>,
}

impl Finding {
    pub(super) fn ok(found: impl Into<String>) -> Self {
        Self { state: State::Ok, found: found.into(), below: Vec::new() }
    }

    pub(super) fn fail(exit: Exit, found: impl Into<String>) -> Self {
        Self { state: State::Fail(exit), ..Self::ok(found) }
    }

    pub(super) fn skip(found: impl Into<String>) -> Self {
        Self { state: State::Skip, ..Self::ok(found) }
    }

    /// More of what was found.
    pub(super) fn note(mut self, note: impl AsRef<str>) -> Self {
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
            State::Ok => "ok",
            State::Fail(_) => "FAIL",
            State::Skip => "skip",
        };
        let head = format!("{state:<4}  {step:<10}  {}", one_line(&self.found));
        std::iter::once(head).chain(self.below.iter().cloned()).collect::<Vec<_>>().join("\n")
    }
}

impl Report {
    pub(super) fn new(with_registry: bool) -> Self {
        let steps = if with_registry { WITH_REGISTRY } else { WITHOUT };
        Self { steps: steps.iter(), exit: Exit::Success, failed: None }
    }

    /// Tells what the next step has found, and passes on what it gives. The first break decides how the program ends.
    pub(super) fn record<T>(&mut self, (finding, given): Outcome<T>) -> anyhow::Result<Option<T>> {
        let step = self.steps.next().copied().unwrap_or(TOOLS);
        if let State::Fail(exit) = finding.state
            && self.failed.is_none()
        {
            (self.exit, self.failed) = (exit, Some(step));
        }
        print_line(finding.text(step))?;
        Ok(given)
    }

    /// Tells of the steps that the break has kept from being made.
    pub(super) fn skip_remaining(&mut self) -> anyhow::Result<()> {
        let why = self.failed.map_or_else(|| "not asked".to_owned(), |step| format!("not asked: see {step}"));
        self.steps.by_ref().try_for_each(|step| print_line(Finding::skip(&why).text(step)))
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
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
        let finding = Finding::fail(Exit::Denied, "no\nway").note("more").fix("write this:\n[[grants]]");
        assert_eq!(
            finding.text("grant"),
            "FAIL  grant       no way\n      more\n      fix: write this:\n           [[grants]]"
        );
        assert_eq!(Finding::ok("x").text("/v2/"), "ok    /v2/        x");
    }

    #[test]
    fn nobody_s_text_moves_the_terminal() {
        let text = "a\u{1b}[2J\rb\u{9b}1m\nc\u{7}";
        let told = Finding::ok(text).note(text).fix(text).text("caller");
        assert!(!told.replace('\n', "").contains(char::is_control), "{told:?}");
        assert!(told.ends_with("      fix: a [2J b 1m\n           c "), "{told:?}");
    }

    #[test]
    fn the_first_break_decides_how_the_program_ends() {
        let mut report = Report::new(true);
        assert_eq!(report.record((Finding::ok("a"), Some(1))).unwrap(), Some(1));
        report.record::<()>((Finding::fail(Exit::Unavailable, "b"), None)).unwrap();
        report.record::<()>((Finding::fail(Exit::Denied, "c"), None)).unwrap();
        assert_eq!((report.exit(), report.failed), (Exit::Unavailable, Some("address")));
    }
}
